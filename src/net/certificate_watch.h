// Warns before a certificate ends. Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "net/certificates.h"

namespace fedalt {

/// Whose certificate it is, at a server; a site's is "site NAME".
inline constexpr char kOfThisServer[] = "this server", kOfAuthority[] = "the federation's authority";

/// What to do about a certificate that has ended or ends within 30 days; empty: nothing yet.
std::optional<std::string> CertificateWarning(const std::string& whose, int64_t not_after_s, int64_t now_s);

class CertificateWatch {
 public:
  /// `whose`: such as "site osaka"; of an authority kOfAuthority. A newer certificate of the same owner takes the place of the
  /// older one. A text that is no certificate is not watched.
  void See(const std::string& whose, const std::string& pem);

  /// A sentence for each that has ended or ends within 30 days, at most once a day for each.
  std::vector<std::string> Due(int64_t now_s);
  /// The end of each that was seen, by whose it is: Unix time.
  std::map<std::string, int64_t> Ends() const;

 private:
  struct Seen {
    int64_t not_after_s = 0;
    int64_t next_s = 0;  // not before this
  };
  mutable std::mutex mutex_;
  std::map<std::string, Seen> seen_;
};

}  // namespace fedalt
