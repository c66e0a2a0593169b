#include "net/certificate_watch.h"

namespace fedalt {
namespace {

constexpr int64_t kDayS = 86'400, kWarnS = 30 * kDayS;

}  // namespace

std::optional<std::string> CertificateWarning(const std::string& whose, int64_t not_after_s, int64_t now_s) {
  if (not_after_s - now_s > kWarnS) return std::nullopt;
  const int64_t days = (not_after_s - now_s) / kDayS;
  const std::string when = not_after_s < now_s
                               ? absl::StrCat("ended on ", DateOf(not_after_s))
                               : absl::StrCat("ends on ", DateOf(not_after_s), ", in ", days, days == 1 ? " day" : " days");
  return absl::StrCat("the certificate of ", whose, " ", when,
                      whose == kOfAuthority
                          ? "; make a new authority by fedalt keys init and new keys for everybody"
                          : "; renew it by fedalt keys with --renew, and start that process again with the new file");
}

void CertificateWatch::See(const std::string& whose, const std::string& pem) {
  const StatusOr<CertificateFacts> facts = ParseCertificate(pem);
  if (!facts.ok()) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  Seen& seen = seen_[whose];
  if (seen.not_after_s == facts->validity.not_after_s) return;
  seen = {facts->validity.not_after_s, 0};
}

std::vector<std::string> CertificateWatch::Due(int64_t now_s) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::string> due;
  for (auto& [whose, seen] : seen_) {
    const auto warning = CertificateWarning(whose, seen.not_after_s, now_s);
    if (!warning || now_s < seen.next_s) continue;
    seen.next_s = now_s + kDayS;
    due.push_back(*warning);
  }
  return due;
}

std::map<std::string, int64_t> CertificateWatch::Ends() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::map<std::string, int64_t> ends;
  for (const auto& [whose, seen] : seen_) ends[whose] = seen.not_after_s;
  return ends;
}

}  // namespace fedalt
