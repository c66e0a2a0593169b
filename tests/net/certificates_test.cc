#include "net/certificates.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/file.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kNow = 1'800'000'000;  // 2027-01-15
constexpr int64_t kDay = 86400;

#define EXPECT_SAYS(text, part) EXPECT_NE(std::string(text).find(part), std::string::npos) << (text)

CertifiedKey Authority(int64_t days = 3650) {
  auto made = MakeAuthority("clinics", ValidForDays(kNow, days));
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

CertifiedKey Issue(const CertifiedKey& authority, const CertificateRequest& request) {
  auto made = IssueCertificate(authority, request);
  EXPECT_TRUE(made.ok()) << made.status();
  return made.ok() ? *std::move(made) : CertifiedKey();
}

CertificateRequest SiteRequest(const std::string& name = "clinic-a") {
  return {.use = CertificateUse::kSite, .name = name, .hosts = {}, .validity = ValidForDays(kNow, 730), .renewed_pem = ""};
}

CertificateRequest ServerRequest(const std::vector<std::string>& hosts = {"fl.example.org", "10.0.0.7", "2001:db8::7",
                                                                          "fl_server"}) {
  return {.use = CertificateUse::kServer, .name = "server", .hosts = hosts, .validity = ValidForDays(kNow, 730), .renewed_pem = ""};
}

std::string Message(const Status& status, ErrorKind kind = ErrorKind::kConfig) {
  if (status.ok()) return "accepted";
  EXPECT_EQ(KindOf(status), kind) << status;
  return std::string(status.message());
}

std::string Check(const std::string& pem, const CertifiedKey& authority, CertificateUse use, int64_t now_s = kNow,
                  ErrorKind kind = ErrorKind::kConfig) {
  return Message(CheckCertificate(pem, authority.certificate_pem, use, now_s), kind);
}

TEST(Certificates, SayWhatTheyWereMadeFor) {
  const CertifiedKey authority = Authority(), server = Issue(authority, ServerRequest()), site = Issue(authority, SiteRequest());
  const CertificateFacts of_authority = *ParseCertificate(authority.certificate_pem);
  EXPECT_EQ(of_authority.use, CertificateUse::kAuthority);
  EXPECT_EQ(of_authority.common_name, "clinics");
  const CertificateFacts of_server = *ParseCertificate(server.certificate_pem);
  EXPECT_EQ(of_server.use, CertificateUse::kServer);
  EXPECT_EQ(of_server.hosts, (std::vector<std::string>{"fl.example.org", "10.0.0.7", "2001:db8::7", "fl_server"}));
  const CertificateFacts of_site = *ParseCertificate(site.certificate_pem);
  EXPECT_EQ(of_site.use, CertificateUse::kSite);
  EXPECT_EQ(of_site.common_name, "clinic-a");
  EXPECT_EQ(of_site.validity.not_before_s, kNow - 3600);
  EXPECT_EQ(of_site.validity.not_after_s, kNow + 730 * kDay);
  EXPECT_EQ(DateOf(of_site.validity.not_after_s), "2029-01-14");
  EXPECT_TRUE(of_site.hosts.empty());
  EXPECT_NE(of_site.fingerprint, of_server.fingerprint);
  EXPECT_EQ(of_site.fingerprint.size(), 64u);
  for (const CertifiedKey* key : {&authority, &server, &site}) EXPECT_EQ(Message(CheckPrivateKey(*key)), "accepted");
}

TEST(Certificates, AreAcceptedFromTheirAuthorityAlone) {
  const CertifiedKey authority = Authority(), other = Authority();  // of the same name
  const std::string server = Issue(authority, ServerRequest()).certificate_pem;
  const std::string site = Issue(authority, SiteRequest()).certificate_pem;
  EXPECT_EQ(Check(server, authority, CertificateUse::kServer), "accepted");
  EXPECT_EQ(Check(site, authority, CertificateUse::kSite), "accepted");
  EXPECT_SAYS(Check(site, other, CertificateUse::kSite), "was not signed by the authority");
  EXPECT_SAYS(Check(server, other, CertificateUse::kServer), "was not signed by the authority");
  EXPECT_SAYS(Check(site, {server, ""}, CertificateUse::kSite), "is for a server; expected that of an authority");
}

TEST(Certificates, AreAcceptedForTheirUseAlone) {
  const CertifiedKey authority = Authority();
  EXPECT_SAYS(Check(Issue(authority, ServerRequest()).certificate_pem, authority, CertificateUse::kSite),
              "\"server\" is for a server; expected one for a site");
  EXPECT_SAYS(Check(Issue(authority, SiteRequest()).certificate_pem, authority, CertificateUse::kServer),
              "\"clinic-a\" is for a site; expected one for a server");
  EXPECT_SAYS(Check(authority.certificate_pem, authority, CertificateUse::kSite), "is for an authority; expected one for a site");
}

TEST(Certificates, AreAcceptedInTheirTimeAlone) {
  const CertifiedKey authority = Authority();
  CertificateRequest past = SiteRequest();
  past.validity = {kNow - 20 * kDay, kNow - kDay};
  const std::string expired = Issue(authority, past).certificate_pem;
  EXPECT_SAYS(Check(expired, authority, CertificateUse::kSite), "expired on 2027-01-14, and now is 2027-01-15; renew it");
  const std::string site = Issue(authority, SiteRequest()).certificate_pem;
  EXPECT_SAYS(Check(site, authority, CertificateUse::kSite, kNow - 3601, ErrorKind::kNotNow),
              "is valid from 2027-01-15 on, and now is 2027-01-15");
  EXPECT_EQ(Check(site, authority, CertificateUse::kSite, kNow - 3600), "accepted");
  EXPECT_EQ(Check(site, authority, CertificateUse::kSite, kNow + 730 * kDay - 1), "accepted");
  EXPECT_SAYS(Check(site, authority, CertificateUse::kSite, kNow + 730 * kDay + 1), "expired on");
}

TEST(Certificates, DoNotOutliveTheirAuthority) {
  const CertifiedKey authority = Authority();
  CertificateRequest request = SiteRequest();
  request.validity = ValidForDays(kNow, 3650);
  EXPECT_EQ(Message(IssueCertificate(authority, request).status()), "accepted");
  request.validity = ValidForDays(kNow, 3651);
  EXPECT_SAYS(Message(IssueCertificate(authority, request).status()), "give fewer --days");
}

TEST(Certificates, RenewedOnesKeepTheFingerprint) {
  const CertifiedKey authority = Authority(), site = Issue(authority, SiteRequest());
  CertificateRequest request = SiteRequest();
  request.validity = ValidForDays(kNow + 700 * kDay, 730);
  request.renewed_pem = site.certificate_pem;
  const CertifiedKey renewed = Issue(authority, request);
  EXPECT_EQ(renewed.private_key_pem, "");
  EXPECT_EQ(ParseCertificate(renewed.certificate_pem)->fingerprint, ParseCertificate(site.certificate_pem)->fingerprint);
  EXPECT_EQ(Message(CheckPrivateKey({renewed.certificate_pem, site.private_key_pem})), "accepted");
  EXPECT_EQ(Check(renewed.certificate_pem, authority, CertificateUse::kSite, kNow + 1000 * kDay), "accepted");
}

TEST(Certificates, RefuseRequestsThatDoNotFit) {
  const CertifiedKey authority = Authority(), other = Authority(), site = Issue(authority, SiteRequest());
  const auto issue = [](const CertifiedKey& by, const CertificateRequest& request, ErrorKind kind = ErrorKind::kConfig) {
    return Message(IssueCertificate(by, request).status(), kind);
  };
  EXPECT_SAYS(issue(authority, SiteRequest("")), "expected 1 to 64");
  EXPECT_SAYS(issue(authority, SiteRequest(std::string(65, 'a'))), "has 65 bytes; expected 1 to 64");
  EXPECT_EQ(issue(authority, SiteRequest(std::string(64, 'a'))), "accepted");
  EXPECT_SAYS(issue(site, SiteRequest()), "is not that of an authority");
  EXPECT_SAYS(issue({authority.certificate_pem, other.private_key_pem}, SiteRequest()), "belongs to another certificate");
  EXPECT_SAYS(issue({authority.certificate_pem, "x"}, SiteRequest()), "no private key that can be read");
  CertificateRequest request = SiteRequest();
  request.validity = {kNow, kNow};
  EXPECT_SAYS(issue(authority, request), "expected an end after the beginning");
  request = SiteRequest();
  request.renewed_pem = "x";
  EXPECT_SAYS(issue(authority, request), "no certificate that can be read");
  for (const std::string& host :
       {std::string(), std::string("fl.example.org:443"), std::string("https://fl"), std::string("a..b"), std::string("-a"),
        std::string("*.example.org"), std::string("10.0.0"), std::string("10.0.0.256"), std::string("a b"),
        std::string("DNS:a,IP:1.2.3.4"), std::string(64, 'a'), std::string("a.") + std::string(252, 'b')})
    EXPECT_SAYS(issue(authority, ServerRequest({"ok", host}), ErrorKind::kUsage), "neither a DNS name nor an IP address") << host;
  EXPECT_SAYS(issue(authority, ServerRequest({}), ErrorKind::kUsage), "has no host");
}

TEST(Certificates, RefuseBrokenText) {
  const std::string pem = Issue(Authority(), SiteRequest()).certificate_pem;
  const auto parse = [](const std::string& text) { return Message(ParseCertificate(text).status()); };
  EXPECT_EQ(parse("what stands before is a comment\n" + pem), "accepted");
  EXPECT_SAYS(parse(""), "no certificate that can be read");
  EXPECT_SAYS(parse(pem.substr(0, pem.size() / 2)), "no certificate that can be read");
  EXPECT_SAYS(parse(Authority().private_key_pem), "no certificate that can be read");
  EXPECT_SAYS(parse(pem + pem), "several certificates");
  EXPECT_SAYS(parse(std::string(70000, 'x')), "at most 65536");
  std::string changed = pem;
  const size_t place = pem.find('\n') + 3;
  changed[place] = changed[place] == 'A' ? 'B' : 'A';
  EXPECT_SAYS(parse(changed), "no certificate that can be read");
}

// What the openssl program, which we did not write, says of our certificates, and we of its.
class OpenSslProgram : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("openssl version >/dev/null 2>&1") != 0) GTEST_SKIP() << "there is no openssl program here";
    fs::create_directories(folder_);
    Write("authority.pem", authority_.certificate_pem);
    Write("server.pem", server_.certificate_pem);
    Write("site.pem", site_.certificate_pem);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void Write(const std::string& name, const std::string& text) { std::ofstream(folder_ / name) << text; }
  std::string Read(const std::string& name) { return *ReadFile(folder_ / name, ErrorKind::kConfig); }

  // What it prints, on both streams.
  std::string Run(const std::string& arguments) {
    const std::string line = absl::StrCat("cd '", folder_.string(), "' && openssl ", arguments, " 2>&1");
    std::FILE* pipe = ::popen(line.c_str(), "r");
    std::string output;
    for (int c = 0; pipe != nullptr && (c = std::fgetc(pipe)) != EOF;) output += static_cast<char>(c);
    if (pipe != nullptr) ::pclose(pipe);
    return output;
  }
  std::string Verify(const std::string& arguments, int64_t now_s = kNow) {
    return Run(absl::StrCat("verify -x509_strict -no-CApath -no-CAstore -attime ", now_s, " ", arguments));
  }

  const fs::path folder_ = fs::path(testing::TempDir()) / absl::StrCat("certificates_test-", ::getpid());
  // Long, as the program dates certificates by the clock of the machine.
  const CertifiedKey authority_ = Authority(36500), server_ = Issue(authority_, ServerRequest()),
                     site_ = Issue(authority_, SiteRequest());
};

TEST_F(OpenSslProgram, AcceptsTheChainForItsUse) {
  EXPECT_EQ(Verify("-CAfile authority.pem -purpose sslserver server.pem"), "server.pem: OK\n");
  EXPECT_EQ(Verify("-CAfile authority.pem -purpose sslclient site.pem"), "site.pem: OK\n");
  EXPECT_SAYS(Verify("-CAfile authority.pem -purpose sslclient server.pem"), "purpose");
  EXPECT_SAYS(Verify("-CAfile authority.pem -purpose sslserver site.pem"), "purpose");
  EXPECT_SAYS(Verify("-CAfile authority.pem -purpose sslclient site.pem", kNow + 731 * kDay), "certificate has expired");
  EXPECT_SAYS(Verify("-CAfile authority.pem -purpose sslclient site.pem", kNow - 2 * 3600), "certificate is not yet valid");
  Write("other.pem", Authority().certificate_pem);
  EXPECT_SAYS(Verify("-CAfile other.pem -purpose sslclient site.pem"), "verification failed");
}

TEST_F(OpenSslProgram, AcceptsTheHostsOfTheServer) {
  for (const char* good :
       {"-verify_hostname fl.example.org", "-verify_hostname fl_server", "-verify_ip 10.0.0.7", "-verify_ip 2001:db8::7"})
    EXPECT_EQ(Verify(absl::StrCat("-CAfile authority.pem ", good, " server.pem")), "server.pem: OK\n") << good;
  EXPECT_SAYS(Verify("-CAfile authority.pem -verify_hostname other.example.org server.pem"), "hostname mismatch");
  EXPECT_SAYS(Verify("-CAfile authority.pem -verify_ip 10.0.0.8 server.pem"), "IP address mismatch");
}

TEST_F(OpenSslProgram, ReadsTheSameFacts) {
  const std::string fingerprint =
      Run("x509 -in site.pem -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -r");
  EXPECT_EQ(fingerprint.substr(0, 64), ParseCertificate(site_.certificate_pem)->fingerprint);
  const std::string text = Run("x509 -in authority.pem -noout -text");
  for (const char* part : {"Version: 3", "ecdsa-with-SHA256", "NIST CURVE: P-256", "X509v3 Basic Constraints: critical",
                           "CA:TRUE, pathlen:0", "X509v3 Key Usage: critical", "Certificate Sign, CRL Sign"})
    EXPECT_SAYS(text, part);
  Write("site.key", site_.private_key_pem);
  EXPECT_SAYS(Run("pkey -in site.key -noout -check"), "Key is valid");
}

TEST_F(OpenSslProgram, MakesCertificatesThatAreRefusedForAnyOtherUse) {
  Write("authority.key", authority_.private_key_pem);
  const auto issue = [this](const std::string& subject, const std::string& extensions) {
    Write("extensions", extensions);
    Run("ecparam -name prime256v1 -genkey -noout -out own.key");
    Run("req -new -key own.key -subj '" + subject + "' -out own.csr");
    Run("x509 -req -in own.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 30000 -extfile extensions -out "
        "own.pem");
    return Read("own.pem");
  };
  const std::string rest = "\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\nbasicConstraints=critical,CA:FALSE\n";
  const int64_t now = static_cast<int64_t>(std::time(nullptr));
  const auto check = [&](const std::string& pem) {
    return Check(pem, authority_, CertificateUse::kSite, std::max(now + 60, kNow));
  };
  EXPECT_EQ(check(issue("/CN=ours", "extendedKeyUsage=clientAuth" + rest)), "accepted");
  EXPECT_SAYS(check(issue("/CN=both", "extendedKeyUsage=clientAuth,serverAuth" + rest)), "is for something else");
  EXPECT_SAYS(check(issue("/CN=none", rest)), "is for something else");
  EXPECT_SAYS(check(issue("/CN=a/CN=b", "extendedKeyUsage=clientAuth" + rest)), "not one common name");
  EXPECT_SAYS(check(issue("/O=nobody", "extendedKeyUsage=clientAuth" + rest)), "not one common name");
  // A party must not become an authority: its signature does not count.
  Write("authority.pem", site_.certificate_pem);
  Write("authority.key", site_.private_key_pem);
  EXPECT_SAYS(check(issue("/CN=forged", "extendedKeyUsage=clientAuth" + rest)), "was not signed by the authority");
}

}  // namespace
}  // namespace fedalt
