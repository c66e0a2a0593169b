// What a site makes of the records of rounds: it believes nothing of a publication that the server has not signed, that contradicts
// what the site holds, or that others countersigned otherwise.
#include <absl/strings/str_format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "net/site_session.h"

namespace fedalt {
namespace {

constexpr char kTwoHistories[] = "; the server was put back, or shows two histories: keep this directory, and ask who runs it";

/// The weight to all its digits.
std::string Shown(const RecordedContribution& of) {
  return absl::StrFormat("%s of weight %.17g", of.content, of.weight);
}

}  // namespace

StatusOr<RoundRecord> SiteSession::Witness(int64_t round, const v1::PublishedManifest& manifest) {
  StatusOr<RoundRecord> record = ParseRecord(manifest.record());
  if (!record.ok()) return Annotate(record.status(), absl::StrCat("round ", round));
  const auto& verifies = options_.signatures.verifies;
  if (verifies && !verifies(Signatures::kServer, manifest.record(), manifest.signature()))
    return IntegrityError(absl::StrCat("round ", round,
                                       ": its record has no valid signature of the server under its key in the "
                                       "roster; ask who runs it before going on"));
  if (record->run != run_ || record->round != round)
    return IntegrityError(absl::StrCat("the server shows a record of round ", record->round, " of \"", record->run, "\" for round ",
                                       round, " of \"", run_, "\"; ask who runs it before going on"));
  RETURN_IF_ERROR(CheckOwn(*record));
  if (options_.record != nullptr) RETURN_IF_ERROR(CheckHistory(*record, manifest.record()));
  RETURN_IF_ERROR(CheckAdoptions(*record, manifest));
  if (options_.record == nullptr) return record;
  ASSIGN_OR_RETURN(const std::optional<SignedRecord> known, options_.record->RecordOf(round));
  if (!known) RETURN_IF_ERROR(options_.record->SaveRecord(round, {manifest.record(), manifest.signature()}));
  return record;
}

StatusOr<std::optional<RecordedContribution>> SiteSession::Sent(int64_t round) const {
  if (upload_.round == round && round > 0)
    return std::optional(RecordedContribution{options_.site, round, upload_.weight, sent_content_});
  if (options_.record == nullptr) return std::optional<RecordedContribution>();
  return options_.record->SentIn(round);
}

Status SiteSession::CheckOwn(const RoundRecord& record) const {
  const RecordedContribution* const own = record.ContributionOf(options_.site);
  if (own == nullptr) return absl::OkStatus();  // it was late, or left out: Published::own_round tells
  ASSIGN_OR_RETURN(const std::optional<RecordedContribution> sent, Sent(own->round));
  if (!sent || *sent == *own) return absl::OkStatus();  // what it sent before it lost its state, it cannot compare
  return IntegrityError(absl::StrCat("round ", record.round, " counts a contribution of this site in round ", own->round, ", ",
                                     Shown(*own), ", but the site sent ", Shown(*sent), "; ask who runs the server"));
}

Status SiteSession::CheckHistory(const RoundRecord& record, const std::string& bytes) {
  ASSIGN_OR_RETURN(const std::optional<SignedRecord> same, options_.record->RecordOf(record.round));
  if (same && same->bytes == bytes) return absl::OkStatus();
  const std::string round = absl::StrCat("round ", record.round, ": its record, ", HexOf(RecordDigest(bytes)));
  if (same)
    return IntegrityError(
        absl::StrCat(round, ", differs from the one that this site saw before, ", HexOf(RecordDigest(same->bytes)), kTwoHistories));
  ASSIGN_OR_RETURN(const int64_t last_round, options_.record->LastRound());
  const bool first = last_round == 0 || (anew_ && record.round == enrolled_.join_after() && record.previous_round > last_round);
  if (first || last_round > record.round)  // nothing to compare with
    return Note("record.first", {{"round", record.round}, {"previous_round", record.previous_round}});
  if (record.previous_round != last_round)
    return IntegrityError(absl::StrCat(round, ", follows that of round ", record.previous_round,
                                       ", but the last one that this site saw is that of round ", last_round, kTwoHistories));
  ASSIGN_OR_RETURN(const std::optional<SignedRecord> last, options_.record->RecordOf(last_round));
  if (!last) return OutputError(absl::StrCat("the record of round ", last_round, " is missing from this site's database"));
  if (record.previous != RecordDigest(last->bytes))
    return IntegrityError(absl::StrCat(round, ", follows a record of round ", last_round, " with the digest ",
                                       HexOf(record.previous), ", but this site saw ", HexOf(RecordDigest(last->bytes)),
                                       kTwoHistories));
  ASSIGN_OR_RETURN(const RoundRecord before, ParseRecord(last->bytes));
  if (record.log.size > before.log.size) return absl::OkStatus();
  return IntegrityError(absl::StrCat(round, ", is of a log of ", record.log.size, " entries, that of round ", last_round, " of ",
                                     before.log.size, kTwoHistories));
}

/// What others countersigned must be the record that this one follows, and so the one that this site holds.
Status SiteSession::CheckAdoptions(const RoundRecord& record, const v1::PublishedManifest& manifest) {
  const auto& verifies = options_.signatures.verifies;
  if (!verifies) return absl::OkStatus();
  std::set<std::string> adopted, missing;
  for (const v1::Adoption& adoption : manifest.adoptions()) {
    const auto place = std::find(options_.sites.begin(), options_.sites.end(), adoption.site()) - options_.sites.begin();
    const bool known = place < static_cast<int64_t>(options_.sites.size());
    if (!known || !verifies(place, AdoptionMessage(record.previous), adoption.signature()))
      return IntegrityError(absl::StrCat("round ", record.previous_round, ": the countersignature of \"", adoption.site(),
                                         "\" is not one of the record that this site saw, ", HexOf(record.previous),
                                         ", under its key in the roster", kTwoHistories, "; compare the rosters, too"));
    adopted.insert(adoption.site());
  }
  if (options_.record == nullptr || record.previous_round == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::optional<SignedRecord> before, options_.record->RecordOf(record.previous_round));
  if (!before) return absl::OkStatus();
  ASSIGN_OR_RETURN(const RoundRecord previous, ParseRecord(before->bytes));
  for (const RecordedContribution& of : previous.contributors)
    if (!adopted.contains(of.site)) missing.insert(of.site);
  return Note("countersignatures", {{"round", record.previous_round}, {"adopted", adopted}, {"missing", missing}});
}

Status SiteSession::TellCounted(const RoundRecord& record) {
  const RecordedContribution* const own = record.ContributionOf(options_.site);
  const int64_t counted = own == nullptr ? 0 : own->round;
  const bool late = upload_.round == record.round && counted != record.round && sent_attempt_ == 0;
  if (late && tell_)
    tell_(absl::StrCat("round ", record.round, " was closed before this site's contribution arrived; of this site it counts ",
                       counted == 0 ? "nothing" : absl::StrCat("what it sent in round ", counted),
                       "; if that happens often, ask for a longer deadline_s"));
  return Note("contribution", {{"round", record.round}, {"counted", counted == record.round}, {"counted_round", counted}});
}

Status SiteSession::NoteReading(int64_t round, const std::string& refused) {
  if (options_.record == nullptr) return absl::OkStatus();
  nlohmann::json body = {{"round", round}, {"adopted", refused.empty()}};
  ASSIGN_OR_RETURN(const std::optional<SignedRecord> known, options_.record->RecordOf(round));
  if (known) {
    ASSIGN_OR_RETURN(const RoundRecord record, ParseRecord(known->bytes));
    if (const RecordedContent* content = record.ContentFor(options_.site)) body["content_sha256"] = content->content;
  }
  if (!refused.empty()) body["reason"] = refused;
  RETURN_IF_ERROR(Note("rest_of_world", body));
  if (known && options_.signatures.sign) RETURN_IF_ERROR(Countersign(round, refused));
  return options_.record->Seal();
}

/// Once the run has ended, the server may be gone at any time: then what it misses is said, and no reason to wait.
Status SiteSession::Countersign(int64_t round, const std::string& refused) {
  constexpr int64_t kAfterTheEndMs = 30'000;
  ASSIGN_OR_RETURN(const std::optional<SignedRecord> known, options_.record->RecordOf(round));
  v1::Countersignature request;
  request.set_run(run_);
  request.set_round(round);
  if (refused.empty()) request.set_signature(options_.signatures.sign(AdoptionMessage(RecordDigest(known->bytes))));
  request.set_refused(refused.substr(0, refused.find(": ")));  // figures stay here, as Transport says
  const bool ended = state_.phase() == v1::PHASE_ENDED;
  const Status sent = Ask<v1::CountersignReply>(Rpc::kCountersign, request, ended ? kAfterTheEndMs : options_.patience_ms).status();
  if (sent.ok()) return Note(refused.empty() ? "countersignature" : "publication.refused", {{"round", round}});
  if (!ended) return Final(sent);
  if (tell_) tell_(absl::StrCat("the countersignature of round ", round, " did not arrive (", sent.message(), ")"));
  return Note("countersignature.lost", {{"round", round}});
}

}  // namespace fedalt
