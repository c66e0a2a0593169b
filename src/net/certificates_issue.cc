// Making certificates: an authority's own, and those that it signs.
#include <absl/strings/ascii.h>
#include <absl/strings/str_split.h>

#include <algorithm>

#include "base/check.h"
#include "base/strict_json.h"
#include "net/certificates.h"
#include "net/openssl_objects.h"

namespace fedalt {
namespace {

constexpr int64_t kSecondsPerDay = 86400;
constexpr int64_t kEndOfYear9999 = 253402300799;  // the last time that X.509 can write (RFC 5280, section 4.1.2.5)

struct Contents {
  std::string_view name, organization;
  Validity validity;
  EVP_PKEY* key = nullptr;
  X509* issuer = nullptr;  // nullptr: signs itself
};

Status CheckContents(std::string_view name, const Validity& validity) {
  if (name.empty() || name.size() > 64)
    return ConfigError(absl::StrCat("the name ", QuoteForMessage(name), " has ", name.size(), " bytes; expected 1 to 64"));
  if (validity.not_before_s >= validity.not_after_s || validity.not_before_s < 0 || validity.not_after_s > kEndOfYear9999)
    return ConfigError(absl::StrCat("a certificate from ", DateOf(validity.not_before_s), " until ", DateOf(validity.not_after_s),
                                    "; expected an end after the beginning, and before the year 10000"));
  return absl::OkStatus();
}

bool AddToName(X509_NAME* subject, int field, std::string_view text) {
  return X509_NAME_add_entry_by_NID(subject, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(text.data()),
                                    static_cast<int>(text.size()), -1, 0) == 1;
}

bool AddExtension(X509* certificate, X509* issuer, int kind, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const openssl::Extension extension(X509V3_EXT_conf_nid(nullptr, &context, kind, value));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool SetSerial(X509* certificate) {
  const openssl::Number serial(BN_new());
  // Positive and at most 20 octets (RFC 5280, section 4.1.2.2); random, so that no list of them must be kept.
  return serial && BN_rand(serial.get(), 159, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
         BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool SetTimes(X509* certificate, const Validity& validity) {
  const openssl::Time from(ASN1_TIME_set(nullptr, static_cast<time_t>(validity.not_before_s)));
  const openssl::Time until(ASN1_TIME_set(nullptr, static_cast<time_t>(validity.not_after_s)));
  return from && until && X509_set1_notBefore(certificate, from.get()) == 1 && X509_set1_notAfter(certificate, until.get()) == 1;
}

// All but the extensions and the signature.
StatusOr<openssl::Certificate> NewCertificate(const Contents& contents) {
  openssl::Certificate certificate(X509_new());
  if (!certificate || X509_set_version(certificate.get(), X509_VERSION_3) != 1 || !SetSerial(certificate.get()) ||
      !SetTimes(certificate.get(), contents.validity) || X509_set_pubkey(certificate.get(), contents.key) != 1)
    return openssl::Failure("make a certificate");
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  if (!AddToName(subject, NID_organizationName, contents.organization) || !AddToName(subject, NID_commonName, contents.name))
    return openssl::Failure(absl::StrCat("write the name ", QuoteForMessage(contents.name), " into a certificate"));
  X509_NAME* issuer = contents.issuer != nullptr ? X509_get_subject_name(contents.issuer) : subject;
  if (X509_set_issuer_name(certificate.get(), issuer) != 1) return openssl::Failure("name the issuer of a certificate");
  return certificate;
}

StatusOr<std::string> SignedPem(X509* certificate, EVP_PKEY* issuer_key) {
  const openssl::Memory memory(BIO_new(BIO_s_mem()));
  if (!memory || X509_sign(certificate, issuer_key, EVP_sha256()) == 0 || PEM_write_bio_X509(memory.get(), certificate) != 1)
    return openssl::Failure("sign a certificate");
  return openssl::TextOf(memory.get());
}

StatusOr<std::string> PrivatePem(EVP_PKEY* key) {
  const openssl::Memory memory(BIO_new(BIO_s_secmem()));
  if (!memory || PEM_write_bio_PrivateKey(memory.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return openssl::Failure("write a private key");
  return openssl::TextOf(memory.get());
}

StatusOr<openssl::Key> NewKey() {
  openssl::Key key(EVP_EC_gen("P-256"));
  if (!key) return openssl::Failure("make a key");
  return key;
}

bool IsLabel(std::string_view label) {
  const auto allowed = [](char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_'; };
  return !label.empty() && label.size() <= 63 && label.front() != '-' && label.back() != '-' &&
         std::all_of(label.begin(), label.end(), allowed);
}

// RFC 1123, section 2.1, and '_', which container networks use. A name whose last part is a number is a mistyped address.
bool IsDnsName(const std::string& host) {
  const std::vector<std::string> labels = absl::StrSplit(host, '.');
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  return host.size() <= 253 && std::all_of(labels.begin(), labels.end(), IsLabel) &&
         !std::all_of(labels.back().begin(), labels.back().end(), is_digit);
}

StatusOr<openssl::HostName> HostNameOf(const std::string& host) {
  openssl::HostName name(GENERAL_NAME_new());
  openssl::String text(a2i_IPADDRESS(host.c_str()));
  ERR_clear_error();
  const int type = text ? GEN_IPADD : GEN_DNS;
  if (!text) {
    if (!IsDnsName(host))
      return UsageError(absl::StrCat("the host ", QuoteForMessage(host),
                                     " is neither a DNS name nor an IP address; expected one such as fl.example.org or 10.0.0.7, "
                                     "without a port"));
    text.reset(ASN1_STRING_type_new(V_ASN1_IA5STRING));
    if (!text || ASN1_STRING_set(text.get(), host.data(), static_cast<int>(host.size())) != 1)
      return openssl::Failure("write a host name");
  }
  if (!name) return openssl::Failure("write a host name");
  GENERAL_NAME_set0_value(name.get(), type, text.release());
  return name;
}

Status AddHosts(X509* certificate, const std::vector<std::string>& hosts) {
  if (hosts.empty()) return UsageError("the server has no host; expected the names or addresses by which the sites reach it");
  const openssl::HostNames names(GENERAL_NAMES_new());
  for (auto host = hosts.begin(); host != hosts.end(); ++host) {
    if (std::find(hosts.begin(), host, *host) != host) continue;  // named twice
    ASSIGN_OR_RETURN(openssl::HostName name, HostNameOf(*host));
    if (!names || sk_GENERAL_NAME_push(names.get(), name.get()) == 0) return openssl::Failure("list host names");
    (void)name.release();  // the list has it now
  }
  if (X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), 0, 0) != 1) return openssl::Failure("add host names");
  return absl::OkStatus();
}

Status CheckRequest(const CertificateFacts& authority, const CertificateRequest& request) {
  RETURN_IF_ERROR(CheckContents(request.name, request.validity));
  if (authority.use != CertificateUse::kAuthority)
    return ConfigError(absl::StrCat("the certificate of ", QuoteForMessage(authority.common_name), " is not that of an authority"));
  if (request.validity.not_after_s > authority.validity.not_after_s)
    return ConfigError(absl::StrCat("the certificate would end on ", DateOf(request.validity.not_after_s),
                                    ", but its authority on ", DateOf(authority.validity.not_after_s),
                                    "; give fewer --days, or make a new authority"));
  return absl::OkStatus();
}

StatusOr<openssl::Key> PublicKeyOf(std::string_view pem) {
  ASSIGN_OR_RETURN(const openssl::Certificate certificate, openssl::ReadCertificate(pem));
  openssl::Key key(X509_get_pubkey(certificate.get()));
  ERR_clear_error();
  if (!key) return ConfigError("the certificate to be renewed has no key that can be read");
  return key;
}

}  // namespace

Validity ValidForDays(int64_t now_s, int64_t days) {
  return {now_s - 3600, now_s + days * kSecondsPerDay};
}

StatusOr<CertifiedKey> MakeAuthority(std::string_view name, const Validity& validity) {
  RETURN_IF_ERROR(CheckContents(name, validity));
  ASSIGN_OR_RETURN(const openssl::Key key, NewKey());
  // The organization keeps the name apart from those of the parties, whatever the federation is called.
  ASSIGN_OR_RETURN(const openssl::Certificate certificate,
                   NewCertificate({.name = name, .organization = "fedalt authority", .validity = validity, .key = key.get()}));
  X509* own = certificate.get();
  if (!AddExtension(own, own, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
      !AddExtension(own, own, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !AddExtension(own, own, NID_subject_key_identifier, "hash"))
    return openssl::Failure("write the extensions of an authority");
  CertifiedKey made;
  ASSIGN_OR_RETURN(made.certificate_pem, SignedPem(own, key.get()));
  ASSIGN_OR_RETURN(made.private_key_pem, PrivatePem(key.get()));
  return made;
}

StatusOr<CertifiedKey> IssueCertificate(const CertifiedKey& authority, const CertificateRequest& request) {
  FEDALT_CHECK(request.use == CertificateUse::kServer || request.use == CertificateUse::kSite, "not the use of a party");
  ASSIGN_OR_RETURN(const CertificateFacts facts, ParseCertificate(authority.certificate_pem));
  RETURN_IF_ERROR(CheckRequest(facts, request));
  RETURN_IF_ERROR(CheckPrivateKey(authority));
  ASSIGN_OR_RETURN(const openssl::Certificate issuer, openssl::ReadCertificate(authority.certificate_pem));
  ASSIGN_OR_RETURN(const openssl::Key issuer_key, openssl::ReadPrivateKey(authority.private_key_pem));
  const bool renews = !request.renewed_pem.empty(), serves = request.use == CertificateUse::kServer;
  ASSIGN_OR_RETURN(const openssl::Key key, renews ? PublicKeyOf(request.renewed_pem) : NewKey());
  ASSIGN_OR_RETURN(const openssl::Certificate certificate, NewCertificate({.name = request.name,
                                                                           .organization = serves ? "fedalt server" : "fedalt site",
                                                                           .validity = request.validity,
                                                                           .key = key.get(),
                                                                           .issuer = issuer.get()}));
  X509* own = certificate.get();
  if (!AddExtension(own, issuer.get(), NID_basic_constraints, "critical,CA:FALSE") ||
      !AddExtension(own, issuer.get(), NID_key_usage, "critical,digitalSignature") ||
      !AddExtension(own, issuer.get(), NID_ext_key_usage, serves ? "serverAuth" : "clientAuth") ||
      !AddExtension(own, issuer.get(), NID_subject_key_identifier, "hash") ||
      !AddExtension(own, issuer.get(), NID_authority_key_identifier, "keyid:always"))
    return openssl::Failure("write the extensions of a certificate");
  if (serves) RETURN_IF_ERROR(AddHosts(own, request.hosts));
  CertifiedKey made;
  ASSIGN_OR_RETURN(made.certificate_pem, SignedPem(own, issuer_key.get()));
  if (!renews) {
    ASSIGN_OR_RETURN(made.private_key_pem, PrivatePem(key.get()));
  }
  return made;
}

}  // namespace fedalt
