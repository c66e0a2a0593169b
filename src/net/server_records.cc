// What sites tell a server of themselves: whether they adopted a publication, reports, and leaving.
#include <algorithm>
#include <cmath>

#include "base/quote.h"
#include "net/server_core.h"

namespace fedalt {
namespace {

bool IsMetricName(const std::string& name) {
  constexpr size_t kMost = 64;
  return !name.empty() && name.size() <= kMost && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '/';
  });
}

}  // namespace

StatusOr<v1::CountersignReply> ServerCore::Countersign(int64_t site, const v1::Countersignature& request) {
  RETURN_IF_ERROR(AdmitReader(site, request.run(), Callers::Kind::kFact));
  const std::lock_guard<std::mutex> lock(mutex_);
  const StatusOr<SignedRecord> record = journal_.RecordOf(request.round());
  if (!record.ok()) return absl::NotFoundError(absl::StrCat("round ", request.round(), " has no record"));
  constexpr size_t kMostBytes = 200;
  const std::string refused = Quoted(request.refused(), kMostBytes);
  const auto& verifies = options_.signatures.verifies;
  const std::string message = AdoptionMessage(RecordDigest(record->bytes));
  if (refused.empty() && (!verifies || !verifies(site, message, request.signature())))
    return Refuse(site, absl::InvalidArgumentError(absl::StrCat("the countersignature of round ", request.round(),
                                                                " is not valid under the site's signing key")));
  if (const Status saved = journal_.SaveAdoption(site, request.round(), refused.empty() ? request.signature() : "", refused);
      !saved.ok())
    return Unrecorded(site, saved);
  if (!refused.empty()) WarnOfSite(site, absl::StrCat("did not adopt what round ", request.round(), " published: ", refused));
  if (request.round() == position_.closed_round) have_answered_.insert(site);
  return v1::CountersignReply();
}

StatusOr<v1::ReportReply> ServerCore::Report(int64_t site, const v1::Metrics& request) {
  RETURN_IF_ERROR(AdmitReader(site, request.run(), Callers::Kind::kFact));
  const std::lock_guard<std::mutex> lock(mutex_);
  constexpr int kMost = 32;
  if (request.values_size() > kMost || request.round() < 1 || request.round() > position_.closed_round)
    return Refuse(
        site, absl::InvalidArgumentError(absl::StrCat("a report of ", request.values_size(), " values of round ", request.round(),
                                                      "; expected at most ", kMost, " of a round up to ", position_.closed_round)));
  std::map<std::string, double> values;
  for (const auto& [name, value] : request.values()) {
    if (!IsMetricName(name) || !std::isfinite(value))
      return Refuse(site, absl::InvalidArgumentError("a report has a value without a proper name, or that is not finite"));
    values[name] = value;
  }
  if (++used_[site].reports > budget::kReportsPerAttempt)
    return Exhausted(site, absl::ResourceExhaustedError(absl::StrCat("this site has sent ", budget::kReportsPerAttempt,
                                                                     " reports in this attempt; the last of them stays")));
  if (const Status saved = journal_.SaveMetrics(site, request.round(), values); !saved.ok()) return Unrecorded(site, saved);
  if (request.round() == position_.closed_round) have_reported_.insert(site);
  return v1::ReportReply();
}

StatusOr<v1::LeaveReply> ServerCore::Leave(int64_t site, const v1::LeaveRequest& request) {
  RETURN_IF_ERROR(CheckRun(request.run()));
  RETURN_IF_ERROR(Admit(site, Callers::Kind::kFact));
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!position_.enrolled.contains(site) || position_.enrolments[site] != request.enrolment())
      return v1::LeaveReply();  // a late copy
    constexpr size_t kMostBytes = 200;
    const std::string cause = Quoted(request.cause(), kMostBytes);
    RETURN_IF_ERROR(AskedToDepart(site, absl::StrCat("the site leaves", cause.empty() ? "" : ": ", cause)));
  }
  Notify();
  return v1::LeaveReply();
}

/// The site takes part no longer, and nothing of it counts. Errors: kOutput.
Status ServerCore::Depart(int64_t site, const std::string& cause) {
  RETURN_IF_ERROR(journal_.SaveDeparture(site, cause));
  Tell(absl::StrCat(NameOf(site), " takes part no longer: ", cause));
  position_.enrolled.erase(site);
  position_.enrolments.erase(site);
  position_.departed.insert(site);
  position_.ledger.erase(site);
  position_.received.erase(site);
  uploads_.erase(site);
  reporters_.erase(site);
  callers_.SetMember(site, false);
  callers_.GiveUpPlace(site);
  CollectGarbage(std::nullopt);
  Changed();
  return absl::OkStatus();
}

/// The same for a site, which may try again.
Status ServerCore::AskedToDepart(int64_t site, const std::string& cause) {
  if (aggregating_) return absl::UnavailableError("a round is being closed; try again");
  const Status departed = Depart(site, cause);
  return departed.ok() ? departed : Unrecorded(site, departed);
}

}  // namespace fedalt
