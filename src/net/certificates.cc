// Reading and checking certificates; certificates_issue.cc makes them.
#include "net/certificates.h"

#include <arpa/inet.h>

#include <array>
#include <ctime>
#include <optional>

#include "base/check.h"
#include "base/hash.h"
#include "base/strict_json.h"
#include "net/openssl_objects.h"

namespace fedalt {
namespace openssl {
namespace {
constexpr size_t kMostPemBytes = 65536;
}

StatusOr<Certificate> ReadCertificate(std::string_view pem) {
  if (pem.size() > kMostPemBytes)
    return ConfigError(absl::StrCat("a certificate of ", pem.size(), " bytes; at most ", kMostPemBytes, " are accepted"));
  const Memory memory = MemoryOf(pem);
  Certificate certificate(PEM_read_bio_X509(memory.get(), nullptr, NoPassword, nullptr));
  const bool more = certificate && Certificate(PEM_read_bio_X509(memory.get(), nullptr, NoPassword, nullptr));
  ERR_clear_error();
  if (!certificate)
    return ConfigError("there is no certificate that can be read; expected PEM text that begins with -----BEGIN CERTIFICATE-----");
  if (more) return ConfigError("there are several certificates; expected one");
  return certificate;
}

StatusOr<Key> ReadPrivateKey(std::string_view pem) {
  if (pem.size() > kMostPemBytes)
    return ConfigError(absl::StrCat("a private key of ", pem.size(), " bytes; at most ", kMostPemBytes, " are accepted"));
  const Memory memory = MemoryOf(pem);
  Key key(PEM_read_bio_PrivateKey(memory.get(), nullptr, NoPassword, nullptr));
  ERR_clear_error();
  if (!key)
    return ConfigError(
        "there is no private key that can be read; expected PEM text that begins with -----BEGIN PRIVATE KEY-----, without a "
        "password");
  return key;
}

}  // namespace openssl

namespace {

std::optional<std::string> CommonNameOf(X509* certificate) {
  X509_NAME* subject = X509_get_subject_name(certificate);
  const int place = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (place < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, place) >= 0) return std::nullopt;
  unsigned char* bytes = nullptr;
  const int size = ASN1_STRING_to_UTF8(&bytes, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, place)));
  std::string name;
  if (size > 0) name.assign(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
  OPENSSL_free(bytes);
  // A zero byte would be the end of the name for some readers and not for others.
  if (name.empty() || name.size() > 64 || name.find('\0') != name.npos) return std::nullopt;
  return name;
}

std::optional<int64_t> SecondsOf(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return std::nullopt;
  return ::timegm(&parts);
}

CertificateUse UseOf(X509* certificate) {
  if (X509_check_ca(certificate) == 1) return CertificateUse::kAuthority;
  if ((X509_get_extension_flags(certificate) & EXFLAG_XKUSAGE) == 0) return CertificateUse::kOther;
  const uint32_t use = X509_get_extended_key_usage(certificate);
  if (use == XKU_SSL_SERVER) return CertificateUse::kServer;
  return use == XKU_SSL_CLIENT ? CertificateUse::kSite : CertificateUse::kOther;
}

const char* TextOf(CertificateUse use) {
  switch (use) {
    case CertificateUse::kAuthority:
      return "an authority";
    case CertificateUse::kServer:
      return "a server";
    case CertificateUse::kSite:
      return "a site";
    case CertificateUse::kOther:
      break;
  }
  return "something else";
}

std::vector<std::string> HostsOf(X509* certificate) {
  std::vector<std::string> hosts;
  const openssl::HostNames names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    int type = 0;
    const auto* value = static_cast<const ASN1_STRING*>(GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &type));
    if (type != GEN_DNS && type != GEN_IPADD) continue;
    const unsigned char* bytes = ASN1_STRING_get0_data(value);
    const int size = ASN1_STRING_length(value);
    std::array<char, INET6_ADDRSTRLEN> address{};
    if (type == GEN_DNS)
      hosts.emplace_back(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
    else if ((size == 4 || size == 16) && ::inet_ntop(size == 4 ? AF_INET : AF_INET6, bytes, address.data(), address.size()))
      hosts.emplace_back(address.data());
  }
  return hosts;
}

StatusOr<CertificateFacts> FactsOf(X509* certificate) {
  CertificateFacts facts;
  const std::optional<std::string> name = CommonNameOf(certificate);
  if (!name) return ConfigError("the certificate's subject has not one common name of 1 to 64 bytes; make it with fedalt keys");
  facts.common_name = *name;
  facts.use = UseOf(certificate);
  facts.hosts = HostsOf(certificate);
  const auto from = SecondsOf(X509_get0_notBefore(certificate)), until = SecondsOf(X509_get0_notAfter(certificate));
  unsigned char* der = nullptr;
  const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
  if (size > 0) facts.fingerprint = HexOf(Sha256({reinterpret_cast<const char*>(der), static_cast<size_t>(size)}));
  OPENSSL_free(der);
  ERR_clear_error();
  if (!from || !until || facts.fingerprint.empty())
    return ConfigError(absl::StrCat("the certificate of ", QuoteForMessage(*name), " has broken dates or a broken key"));
  facts.validity = {*from, *until};
  return facts;
}

// Why OpenSSL refused the chain of a certificate and its authority, in words.
Status Refusal(X509_STORE_CTX* context, const CertificateFacts& facts, const CertificateFacts& authority, int64_t now_s) {
  const int error = X509_STORE_CTX_get_error(context);
  const CertificateFacts& subject = X509_STORE_CTX_get_error_depth(context) > 0 ? authority : facts;
  const std::string whose = absl::StrCat("the certificate of ", QuoteForMessage(subject.common_name));
  ERR_clear_error();
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return ConfigError(absl::StrCat(
          whose, " expired on ", DateOf(subject.validity.not_after_s), ", and now is ", DateOf(now_s),
          &subject == &facts ? "; renew it by fedalt keys with --renew" : "; make a new authority by fedalt keys init"));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return MakeError(ErrorKind::kNotNow, absl::StrCat(whose, " is valid from ", DateOf(subject.validity.not_before_s),
                                                        " on, and now is ", DateOf(now_s), "; set the clock of this machine"));
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return ConfigError(absl::StrCat(whose, " was not signed by the authority ", QuoteForMessage(authority.common_name),
                                      " with the fingerprint ", authority.fingerprint,
                                      "; expected one from the same fedalt keys folder as authority.pem"));
    default:
      return ConfigError(absl::StrCat(whose, " is refused (", X509_verify_cert_error_string(error), "); make it with fedalt keys"));
  }
}

}  // namespace

StatusOr<CertificateFacts> ParseCertificate(std::string_view pem) {
  ASSIGN_OR_RETURN(const openssl::Certificate certificate, openssl::ReadCertificate(pem));
  return FactsOf(certificate.get());
}

Status CheckCertificate(std::string_view pem, std::string_view authority_pem, CertificateUse use, int64_t now_s) {
  FEDALT_CHECK(use == CertificateUse::kServer || use == CertificateUse::kSite, "an authority is checked by its fingerprint");
  ASSIGN_OR_RETURN(const openssl::Certificate certificate, openssl::ReadCertificate(pem));
  ASSIGN_OR_RETURN(const CertificateFacts facts, FactsOf(certificate.get()));
  ASSIGN_OR_RETURN(const openssl::Certificate authority, openssl::ReadCertificate(authority_pem));
  ASSIGN_OR_RETURN(const CertificateFacts authority_facts, FactsOf(authority.get()));
  if (authority_facts.use != CertificateUse::kAuthority)
    return ConfigError(absl::StrCat("the certificate of ", QuoteForMessage(authority_facts.common_name), " is for ",
                                    TextOf(authority_facts.use), "; expected that of an authority"));
  if (facts.use != use)
    return ConfigError(absl::StrCat("the certificate of ", QuoteForMessage(facts.common_name), " is for ", TextOf(facts.use),
                                    "; expected one for ", TextOf(use)));
  const openssl::Trusted trusted(X509_STORE_new());
  const openssl::Verification context(X509_STORE_CTX_new());
  if (!trusted || !context || X509_STORE_add_cert(trusted.get(), authority.get()) != 1 ||
      X509_STORE_CTX_init(context.get(), trusted.get(), certificate.get(), nullptr) != 1)
    return openssl::Failure("prepare the check of a certificate");
  X509_VERIFY_PARAM* parameters = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_time(parameters, static_cast<time_t>(now_s));
  X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_X509_STRICT);
  X509_VERIFY_PARAM_set_purpose(parameters, use == CertificateUse::kServer ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT);
  if (X509_verify_cert(context.get()) == 1) return absl::OkStatus();
  return Refusal(context.get(), facts, authority_facts, now_s);
}

Status CheckPrivateKey(const CertifiedKey& key) {
  ASSIGN_OR_RETURN(const openssl::Certificate certificate, openssl::ReadCertificate(key.certificate_pem));
  ASSIGN_OR_RETURN(const openssl::Key private_key, openssl::ReadPrivateKey(key.private_key_pem));
  const bool fits = X509_check_private_key(certificate.get(), private_key.get()) == 1;
  ERR_clear_error();
  if (!fits) return ConfigError("the private key belongs to another certificate; expected both from one fedalt keys folder");
  return absl::OkStatus();
}

std::string DateOf(int64_t time_s) {
  const auto time = static_cast<time_t>(time_s);
  std::tm parts{};
  std::array<char, 32> text{};
  if (::gmtime_r(&time, &parts) == nullptr || std::strftime(text.data(), text.size(), "%Y-%m-%d", &parts) == 0) return "?";
  return text.data();
}

}  // namespace fedalt
