#include "net/certificate_watch.h"

namespace fedalt {

void CertificateWatch::See(const std::string& whose, const std::string& pem) {
  const StatusOr<CertificateFacts> facts = ParseCertificate(pem);
  if (!facts.ok()) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  Seen& seen = seen_[whose];
  if (seen.not_after_s == facts->validity.not_after_s) return;
  seen = {facts->validity.not_after_s, facts->use, 0};
}

std::vector<std::string> CertificateWatch::Due(int64_t now_s) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::string> due;
  for (auto& [whose, seen] : seen_) {
    if (seen.not_after_s - now_s > kWarnS || now_s < seen.next_s) continue;
    seen.next_s = now_s + kDayS;
    const int64_t days = (seen.not_after_s - now_s) / kDayS;
    const std::string when = seen.not_after_s < now_s
                                 ? absl::StrCat("ended on ", DateOf(seen.not_after_s))
                                 : absl::StrCat("ends on ", DateOf(seen.not_after_s), ", in ", days, days == 1 ? " day" : " days");
    due.push_back(absl::StrCat("the certificate of ", whose, " ", when,
                               seen.use == CertificateUse::kAuthority
                                   ? "; make a new authority by fedalt keys init and new keys for everybody"
                                   : "; renew it by fedalt keys with --renew, and start that process again with the new file"));
  }
  return due;
}

}  // namespace fedalt
