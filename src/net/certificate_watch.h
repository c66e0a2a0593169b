// Warns before a certificate ends. Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "net/certificates.h"

namespace fedalt {

class CertificateWatch {
 public:
  static constexpr int64_t kDayS = 86'400, kWarnS = 30 * kDayS;

  /// `whose`: such as "site osaka". A newer certificate of the same owner takes the place of the older one. A text that is no
  /// certificate is not watched.
  void See(const std::string& whose, const std::string& pem);

  /// A sentence for each that has ended or ends within 30 days, at most once a day for each.
  std::vector<std::string> Due(int64_t now_s);

 private:
  struct Seen {
    int64_t not_after_s = 0;
    CertificateUse use = CertificateUse::kOther;
    int64_t next_s = 0;  // not before this
  };
  std::mutex mutex_;
  std::map<std::string, Seen> seen_;
};

}  // namespace fedalt
