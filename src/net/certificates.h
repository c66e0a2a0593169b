// Certificates of a federation (X.509, RFC 5280) by OpenSSL: one authority, one server, many sites. Everything is PEM text, and
// OpenSSL stays inside. Keys are ECDSA P-256 (RFC 5480), signatures ecdsa-with-SHA256. Free functions; any thread may call them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fedalt {

enum class CertificateUse {
  kAuthority,  ///< signs certificates (basicConstraints CA, RFC 5280, section 4.2.1.9)
  kServer,     ///< extendedKeyUsage serverAuth alone (section 4.2.1.12)
  kSite,       ///< extendedKeyUsage clientAuth alone
  kOther,      ///< none that this program makes
};

/// Seconds since 1970, UTC.
struct Validity {
  int64_t not_before_s = 0;
  int64_t not_after_s = 0;
};

/// From an hour before `now_s`, as clocks differ, until `days` days after it.
Validity ValidForDays(int64_t now_s, int64_t days);

struct CertifiedKey {
  std::string certificate_pem;
  std::string private_key_pem;  ///< PKCS #8, not encrypted: a secret
};

struct CertificateRequest {
  CertificateUse use = CertificateUse::kSite;  ///< kServer or kSite
  std::string name;                            ///< subject's common name, 1 to 64 bytes
  std::vector<std::string> hosts;              ///< kServer: its subjectAltName, DNS names or IP addresses, at least one
  Validity validity;
  /// A certificate for whose key another one is made, so that its fingerprint stays; empty: for a new key.
  std::string renewed_pem;
};

/// A self-signed certificate that may sign those of parties, but no other authority (pathLenConstraint 0).
/// Errors: kConfig for a name or dates that do not fit.
StatusOr<CertifiedKey> MakeAuthority(std::string_view name, const Validity& validity);

/// A certificate signed by `authority`. With `renewed_pem` there is no private key in the result: its owner has it.
/// Errors: kConfig for an authority whose key is another's, or that ends before the new certificate; for a broken `renewed_pem`;
/// for a name or dates that do not fit. kUsage for a host that is neither a DNS name nor an IP address.
StatusOr<CertifiedKey> IssueCertificate(const CertifiedKey& authority, const CertificateRequest& request);

struct CertificateFacts {
  CertificateUse use = CertificateUse::kOther;
  std::string common_name;
  Validity validity;
  /// SHA-256 of the DER of the subjectPublicKeyInfo, lower-case hex: that of the key, so a renewed certificate keeps it.
  std::string fingerprint;
  std::vector<std::string> hosts;  ///< DNS names and IP addresses of the subjectAltName, in its order
};

/// Reads one certificate in PEM (RFC 7468). Errors (kConfig): no certificate, or several; not one common name of 1 to 64 bytes.
StatusOr<CertificateFacts> ParseCertificate(std::string_view pem);

/// OK if `authority_pem` signed the certificate (RFC 5280, section 6), `now_s` is within the validity of both, and it is for this
/// use (kServer or kSite). Whether its owner still takes part is for the roster to say (net/roster.h). Errors: kConfig; kNotNow
/// (not valid yet).
Status CheckCertificate(std::string_view pem, std::string_view authority_pem, CertificateUse use, int64_t now_s);

/// OK if the private key belongs to the certificate. Errors: kConfig.
Status CheckPrivateKey(const CertifiedKey& key);

/// "2028-11-23" (UTC).
std::string DateOf(int64_t time_s);

}  // namespace fedalt
