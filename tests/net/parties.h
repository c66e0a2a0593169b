// Keys of a small federation in memory: an authority, a server on loopback, sites.
#pragma once

#include <gtest/gtest.h>

#include <ctime>
#include <string>
#include <vector>

#include "net/certificates.h"
#include "net/tls.h"

namespace fedalt::testing {

inline constexpr int64_t kDayS = 86'400;

/// An authority that began a year ago, so that certificates of the past can be made.
struct Parties {
  const int64_t now_s = std::time(nullptr);
  const CertifiedKey authority = *MakeAuthority("clinics", {now_s - 365 * kDayS, now_s + 365 * kDayS});

  TlsIdentity Issue(CertificateUse use, const std::string& name, int64_t from_days, int64_t until_days,
                    std::vector<std::string> hosts = {}) const {
    if (use == CertificateUse::kServer && hosts.empty()) hosts = {"127.0.0.1"};
    const auto key = IssueCertificate(authority, {.use = use,
                                                  .name = name,
                                                  .hosts = std::move(hosts),
                                                  .validity = {now_s + from_days * kDayS, now_s + until_days * kDayS},
                                                  .renewed_pem = ""});
    EXPECT_TRUE(key.ok()) << key.status();
    return {key->certificate_pem, key->private_key_pem, authority.certificate_pem};
  }
  TlsIdentity Server() const { return Issue(CertificateUse::kServer, "server", -1, 300); }
  TlsIdentity Site(const std::string& name) const { return Issue(CertificateUse::kSite, name, -1, 300); }
};

}  // namespace fedalt::testing
