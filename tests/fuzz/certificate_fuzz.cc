// links: base deps_openssl
// sources: src/net/certificates.cc
//
// Any bytes as a certificate in PEM, or (first byte other than '-') as the DER within one, which reaches deeper. What is read has a
// name, dates and a fingerprint; nothing that an authority did not sign is accepted, whoever is taken for the authority.
#include <sodium.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "net/certificates.h"

namespace fedalt {
namespace {

std::string PemOf(std::string_view der) {
  std::string base64(sodium_base64_ENCODED_LEN(der.size(), sodium_base64_VARIANT_ORIGINAL), '\0');
  sodium_bin2base64(base64.data(), base64.size(), reinterpret_cast<const unsigned char*>(der.data()), der.size(),
                    sodium_base64_VARIANT_ORIGINAL);
  base64.pop_back();  // the zero byte
  std::string pem = "-----BEGIN CERTIFICATE-----\n";
  constexpr size_t kLine = 64;
  for (size_t at = 0; at < base64.size(); at += kLine) pem += base64.substr(at, kLine) + "\n";
  return pem + "-----END CERTIFICATE-----\n";
}

void Use(const std::string& pem, const std::string& authority_pem) {
  const auto facts = ParseCertificate(pem);
  for (const CertificateUse use : {CertificateUse::kServer, CertificateUse::kSite}) {
    constexpr int64_t kNow = 1'800'000'000;  // 2027-01-15
    const Status checked = CheckCertificate(pem, authority_pem, use, kNow);
    if (!checked.ok()) {
      FEDALT_CHECK(KindOf(checked) == ErrorKind::kConfig && !checked.message().empty(),
                   "an error of the configuration, with a reason");
      continue;
    }
    FEDALT_CHECK(facts.ok() && facts->use == use, "it is for that use");
    FEDALT_CHECK(facts->validity.not_before_s <= kNow && kNow <= facts->validity.not_after_s, "it is valid now");
    const auto authority = ParseCertificate(authority_pem);
    FEDALT_CHECK(authority.ok() && authority->use == CertificateUse::kAuthority, "an authority signed it");
  }
  if (!facts.ok()) {
    FEDALT_CHECK(KindOf(facts.status()) == ErrorKind::kConfig && !facts.status().message().empty(),
                 "an error of the configuration");
    return;
  }
  constexpr size_t kLongestName = 64, kFingerprint = 64;
  FEDALT_CHECK(!facts->common_name.empty() && facts->common_name.size() <= kLongestName, "it has one name");
  FEDALT_CHECK(facts->fingerprint.size() == kFingerprint, "it has a fingerprint");
  (void)DateOf(facts->validity.not_after_s);
}

}  // namespace
}  // namespace fedalt

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  // Two certificates with two zero bytes between them: the second one is taken for the authority.
  if (!bytes.empty() && bytes.front() == '-') {
    const size_t cut = bytes.find(std::string_view("\0\0", 2));
    const std::string_view second = cut == bytes.npos ? bytes : bytes.substr(cut + 2);
    fedalt::Use(std::string(bytes.substr(0, cut)), std::string(second));
    return 0;
  }
  if (bytes.empty()) return 0;
  // DER: two bytes give the length of the first one.
  constexpr size_t kHeader = 3;
  if (bytes.size() < kHeader) return 0;
  const size_t first = static_cast<uint8_t>(bytes[1]) | size_t{static_cast<uint8_t>(bytes[2])} << 8;
  bytes.remove_prefix(kHeader);
  const std::string pem = fedalt::PemOf(bytes.substr(0, first));
  fedalt::Use(pem, first < bytes.size() ? fedalt::PemOf(bytes.substr(first)) : pem);
  return 0;
}
