#include "net/server_core.h"

#include <absl/strings/str_join.h>

#include <algorithm>

#include "base/check.h"
#include "base/quote.h"
#include "fed/cohort.h"
#include "net/digest_bytes.h"

namespace fedalt {
namespace {

/// The first line that differs, in words. `them`: whose the other one is.
std::string Difference(const std::string& ours, const std::string& theirs, const char* them) {
  size_t begin = 0;
  for (;;) {
    const size_t our_end = std::min(ours.find('\n', begin), ours.size()),
                 their_end = std::min(theirs.find('\n', begin), theirs.size());
    const std::string our_line = ours.substr(begin, our_end - begin), their_line = theirs.substr(begin, their_end - begin);
    if (our_line != their_line || our_end == ours.size() || their_end == theirs.size())
      return absl::StrCat("the server has \"", Quoted(our_line, 200), "\", ", them, " has \"", Quoted(their_line, 200), "\"");
    begin = our_end + 1;
  }
}

/// Of whoever has left, was erased, was never enrolled or is revoked.
Status TakesNoPart() {
  return absl::PermissionDeniedError("this site takes no part in the run, so it reads nothing of it; start it again to enrol");
}

}  // namespace

ServerCore::ServerCore(ServerOptions options, ServerJournal& journal, const Clock& clock)
    : options_(std::move(options)), journal_(journal), clock_(clock), callers_(clock, options_.silent_ms) {
  FEDALT_CHECK(!options_.sites.empty() && !options_.exchange_rounds.empty() && options_.values > 0, "a server has something to do");
}

Status ServerCore::Recover() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ASSIGN_OR_RETURN(position_, journal_.Recover());
  if (position_.agreement.empty()) {
    RETURN_IF_ERROR(journal_.SaveAgreement(options_.agreement));
    position_.agreement = options_.agreement;
  } else if (position_.agreement != options_.agreement) {
    return ConfigError(absl::StrCat("this directory belongs to a run with another configuration: ",
                                    Difference(options_.agreement, position_.agreement, "the directory"),
                                    "; put the configuration back, or start a run in a new directory"));
  }
  ASSIGN_OR_RETURN(start_, journal_.SaveStart({options_.instance, options_.program, options_.roster_sha256, options_.revoked}));
  if (options_.signatures.sign) start_signature_ = options_.signatures.sign(StartMessage(options_.run, start_, options_.instance));
  since_ms_ = clock_.MonotonicMs();
  constexpr int kBitsOfVersion = 32;
  version_ = start_ << kBitsOfVersion;  // differs from every version before the restart, so pollers refresh
  for (const auto& [site, examples] : position_.enrolled) {
    callers_.SetMember(site, !options_.revoked.contains(site));
    callers_.TakePlace(site, "");  // some process has its state: it is given time to be heard
  }
  for (const int64_t site : options_.revoked)
    Tell(absl::StrCat("the keys of ", NameOf(site), " are revoked: it is refused, and nobody waits for it"));
  // What the open attempt has received but nobody has committed yet may go on; its end collects it.
  if (position_.opened_ms == 0) CollectGarbage(std::nullopt);
  return absl::OkStatus();
}

int64_t ServerCore::OpenRound() const {
  const auto next = std::upper_bound(options_.exchange_rounds.begin(), options_.exchange_rounds.end(), position_.closed_round);
  return next == options_.exchange_rounds.end() ? 0 : *next;
}

Surroundings ServerCore::Around() const {
  return {static_cast<int64_t>(options_.sites.size()), options_.revoked,
          CohortOf(options_.participation, options_.sites, OpenRound(), options_.seed), aggregating_};
}

v1::RunState ServerCore::StateLocked() const {
  v1::RunState state;
  state.set_version(version_);
  state.set_phase(position_.ended ? v1::PHASE_ENDED : position_.opened_ms == 0 ? v1::PHASE_ENROLLING : v1::PHASE_COLLECTING);
  state.set_round(OpenRound());
  state.set_attempt(position_.attempt);
  state.set_closed_round(position_.closed_round);
  state.set_cause(position_.ended.value_or(""));
  state.set_waiting_for(WaitingText(WaitingIn(position_, Around()), position_, options_.sites));
  state.set_start(start_);
  state.set_instance(options_.instance);
  state.set_start_signature(start_signature_);
  return state;
}

v1::RunState ServerCore::state() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return StateLocked();
}

bool ServerCore::everybody_has_read() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return position_.closed_round == 0 ||
         std::all_of(position_.enrolled.begin(), position_.enrolled.end(), [&](const auto& enrolled) {
           const int64_t site = enrolled.first;
           if (options_.revoked.contains(site)) return true;
           const bool answered = !options_.signatures.verifies || have_answered_.contains(site);
           return have_read_.contains(site) && answered && (!reporters_.contains(site) || have_reported_.contains(site));
         });
}

Status ServerCore::CheckRun(const std::string& run) const {
  if (run == options_.run) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("this server runs ", options_.run, ", not \"", Quoted(run, 80), "\"; enrol again, or ask another server"));
}

Status ServerCore::AdmitPoll(int64_t site, const v1::PollRequest& request) {
  RETURN_IF_ERROR(CheckRun(request.run()));
  RETURN_IF_ERROR(callers_.AdmitProcess(site, request.process()));
  return callers_.member(site) ? absl::OkStatus() : TakesNoPart();
}

Status ServerCore::Admit(int64_t site, Callers::Kind kind) {
  const Status admitted = callers_.Admit(site, kind);
  if (admitted.ok()) return admitted;
  const std::lock_guard<std::mutex> lock(mutex_);
  return Exhausted(site, admitted);
}

Status ServerCore::AdmitReader(int64_t site, const std::string& run, Callers::Kind kind) {
  RETURN_IF_ERROR(CheckRun(run));
  RETURN_IF_ERROR(Admit(site, kind));
  if (callers_.member(site)) return absl::OkStatus();
  const std::lock_guard<std::mutex> lock(mutex_);
  return Refuse(site, TakesNoPart());
}

bool ServerCore::KnowsStart(const v1::PollRequest& request) const {
  return options_.signatures.verifies &&
         options_.signatures.verifies(Signatures::kServer,
                                      StartMessage(options_.run, request.known_start(), request.known_instance()),
                                      request.known_signature());
}

/// Of two servers on one run, the older does nothing any more, whether or not it knows the site that tells it. One with the same
/// number works on a copy of the directory, or was put back; which is right, only people can say, so it answers, and the site
/// stops. Precondition: the lock is held.
StatusOr<bool> ServerCore::ToldOfAnother(const v1::PollRequest& request) {
  if (superseded_.empty() && request.known_start() > start_ && KnowsStart(request))
    superseded_ = absl::StrCat("another server works on this run (start ", request.known_start(), ", this is start ", start_,
                               "), or this one was put back: put its newest directory back, or begin a new run");
  if (!superseded_.empty()) return absl::FailedPreconditionError(superseded_);
  return request.known_start() == start_ && request.known_instance() != options_.instance && KnowsStart(request);
}

StatusOr<v1::RunState> ServerCore::State(int64_t site, const v1::PollRequest& request) {
  RETURN_IF_ERROR(CheckRun(request.run()));
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ASSIGN_OR_RETURN(const bool another, ToldOfAnother(request));
    if (another) return StateLocked();
  }
  RETURN_IF_ERROR(AdmitPoll(site, request));
  const std::lock_guard<std::mutex> lock(mutex_);
  v1::RunState state = StateLocked();
  state.set_notice(callers_.NoticeFor(site));
  return state;
}

/// Records a refusal, tells the operator, and passes it on. What only says "not yet" or "again" is no refusal. A site that is
/// refused without end fills neither log.
Status ServerCore::Refuse(int64_t site, const Status& why) {
  if (absl::IsUnavailable(why)) return why;
  if (++used_[site].refusals > budget::kRefusalsPerAttempt) return why;
  WarnOfSite(site, absl::StrCat("was refused: ", why.message()));
  const Status noted = journal_.NoteRefusal(site, std::string(why.message()));
  return noted.ok() ? why : Unrecorded(site, noted);
}

/// What a site causes without end, the operator is told once in an attempt. Precondition: the lock is held.
void ServerCore::WarnOfSite(int64_t site, const std::string& what) {
  std::set<std::string>& warned = used_[site].warned;
  if (warned.size() > budget::kWarningsPerAttempt || !warned.insert(what).second) return;
  const bool last = warned.size() > budget::kWarningsPerAttempt;
  Warn(absl::StrCat(NameOf(site), " ", last ? "causes more such lines in this attempt; fedalt audit show has them" : what));
}

/// Says once in an attempt that a site has spent its budget. Precondition: the lock is held.
Status ServerCore::Exhausted(int64_t site, const Status& why) {
  if (!std::exchange(used_[site].exhausted, true))
    if (const Status refused = Refuse(site, why); !absl::IsResourceExhausted(refused)) return refused;
  return why;
}

/// What the operator learns, at most once a minute, and the site in other words.
Status ServerCore::Unrecorded(int64_t site, const Status& status) const {
  constexpr int64_t kMinuteMs = 60'000;
  const int64_t now = clock_.MonotonicMs(), last = unrecorded_ms_;
  if (last < 0 || now >= last + kMinuteMs) {
    unrecorded_ms_ = now;
    Warn(absl::StrCat(NameOf(site), " was told to try again: ", status.message()));
  }
  return absl::UnavailableError("the server's disk does not do what it should, and its operator was told; try again");
}

/// Of an enrolment or a challenge: no other of this run has it.
std::string ServerCore::NewName() {
  return absl::StrCat(start_, "-", options_.instance, "-", ++names_);
}

StatusOr<v1::EnrolReply> ServerCore::Enrol(int64_t site, const v1::EnrolRequest& request) {
  v1::EnrolReply reply;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (const Status admitted = callers_.Admit(site, Callers::Kind::kEnrolment); !admitted.ok()) return Exhausted(site, admitted);
    if (request.newest_protocol() < kOldestProtocol || request.oldest_protocol() > kNewestProtocol)
      return Refuse(site, absl::FailedPreconditionError(absl::StrCat(
                              "the site speaks protocols ", request.oldest_protocol(), " to ", request.newest_protocol(),
                              ", the server ", kOldestProtocol, " to ", kNewestProtocol, "; install a matching version")));
    if (request.agreement() != options_.agreement)
      return Refuse(site, absl::FailedPreconditionError(absl::StrCat(
                              "the configurations differ: ", Difference(options_.agreement, request.agreement(), "the site"))));
    if (request.train_examples() <= 0 || request.train_examples() > budget::kMostTrainExamples)
      return Refuse(site, absl::InvalidArgumentError(absl::StrCat("the site has ", request.train_examples(),
                                                                  " training examples; expected at least 1 and at most ",
                                                                  budget::kMostTrainExamples)));
    const bool known = position_.enrolled.contains(site);
    if (known && !request.anew() && position_.enrolled[site] != request.train_examples())
      return Refuse(site, absl::FailedPreconditionError(absl::StrCat("the site enrolled with ", position_.enrolled[site],
                                                                     " training examples and now has ", request.train_examples(),
                                                                     "; put its data back, or begin a new run")));
    if (position_.ended && (!known || request.anew()))
      return absl::FailedPreconditionError(absl::StrCat("the run has ended: ", *position_.ended));
    reply.set_protocol(std::min(request.newest_protocol(), kNewestProtocol));
    reply.set_run(options_.run);
    if (!known || request.anew()) {
      // Whose site has sent nothing yet loses nothing: it may have died before its first checkpoint.
      if (position_.ledger.contains(site) || position_.received.contains(site))
        RETURN_IF_ERROR(callers_.MayTakePlace(site, request.process()));
      // Only a first enrolment undoes nothing, so that it may be a copy which comes late.
      std::string& challenge = challenges_[site];
      if (challenge.empty()) challenge = NewName();
      if ((known || position_.departed.contains(site)) && request.challenge() != challenge) {
        reply.set_challenge(challenge);
        return reply;
      }
      if (++used_[site].enrolments > budget::kEnrolmentsPerAttempt)
        return Exhausted(site, absl::ResourceExhaustedError(absl::StrCat("this site has enrolled ", budget::kEnrolmentsPerAttempt,
                                                                         " times in this attempt; it waits for the next one")));
      if (known) RETURN_IF_ERROR(AskedToDepart(site, "it has lost its state and rejoins"));
      const std::string name = NewName();
      if (const Status saved = journal_.SaveEnrolment(site, request.train_examples(), name); !saved.ok())
        return Unrecorded(site, saved);
      Tell(absl::StrCat(NameOf(site), " has enrolled with ", request.train_examples(), " training examples"));
      position_.enrolled[site] = request.train_examples();
      position_.enrolments[site] = name;
      challenge = NewName();
      callers_.SetMember(site, true);
      Changed();
    }
    callers_.TakePlace(site, request.process());
    if (request.reports()) reporters_.insert(site);
    if (request.anew()) reply.set_join_after(position_.closed_round);
    reply.set_enrolment(position_.enrolments[site]);
    *reply.mutable_state() = StateLocked();
  }
  Notify();
  return reply;
}

StatusOr<std::shared_ptr<const PublishedObject>> ServerCore::PublishedIn(int64_t site, int64_t round) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (published_ && published_->round == round) return published_;
    if (round > position_.closed_round || round < 1)
      return absl::NotFoundError(absl::StrCat("round ", round, " is not closed; the last closed one is ", position_.closed_round));
  }
  auto loaded = journal_.LoadPublished(round);
  if (!loaded.ok()) return Unrecorded(site, loaded.status());
  if (!*loaded) return absl::NotFoundError(absl::StrCat("round ", round, " published nothing that is still kept"));
  auto published = std::make_shared<const PublishedObject>(**std::move(loaded));
  const std::lock_guard<std::mutex> lock(mutex_);
  return published_ = std::move(published);
}

StatusOr<v1::PublishedManifest> ServerCore::GetManifest(int64_t site, const v1::ManifestRequest& request) {
  RETURN_IF_ERROR(AdmitReader(site, request.run(), Callers::Kind::kFact));
  ASSIGN_OR_RETURN(const auto object, PublishedIn(site, request.round()));
  const ChunkList& chunks = object->ReadBy(site);
  v1::PublishedManifest manifest;
  manifest.set_values(chunks.values);
  for (const Sha256Digest& digest : chunks.digests) manifest.add_chunks(BytesOf(digest));
  if (const auto out = object->left_out.find(site); out != object->left_out.end()) manifest.set_left_out(out->second);
  const StatusOr<SignedRecord> record = journal_.RecordOf(request.round());
  if (!record.ok()) return Unrecorded(site, record.status());
  manifest.set_record(record->bytes);
  manifest.set_signature(record->signature);
  const auto before = std::lower_bound(options_.exchange_rounds.begin(), options_.exchange_rounds.end(), request.round());
  if (before == options_.exchange_rounds.begin()) return manifest;
  const auto adoptions = journal_.AdoptionsOf(*std::prev(before));
  if (!adoptions.ok()) return Unrecorded(site, adoptions.status());
  for (const Adoption& adoption : *adoptions) {
    v1::Adoption& added = *manifest.add_adoptions();
    added.set_site(adoption.site);
    added.set_signature(adoption.signature);
  }
  return manifest;
}

StatusOr<v1::Chunk> ServerCore::GetChunk(int64_t site, const v1::ChunkRequest& request) {
  RETURN_IF_ERROR(AdmitReader(site, request.run(), Callers::Kind::kChunk));
  ASSIGN_OR_RETURN(const Sha256Digest digest, DigestOf(request.sha256()));
  ASSIGN_OR_RETURN(const auto object, PublishedIn(site, request.round()));
  const std::vector<Sha256Digest>& digests = object->ReadBy(site).digests;
  if (std::find(digests.begin(), digests.end(), digest) == digests.end())
    return Refuse(
        site, absl::NotFoundError(absl::StrCat("round ", request.round(), " published no piece ", HexOf(digest), " to this site")));
  StatusOr<std::string> content = journal_.GetChunk(digest);
  if (!content.ok()) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (KindOf(content.status()) == ErrorKind::kIntegrity) damaged_round_ = request.round();
    return Unrecorded(site, content.status());
  }
  if (digest == digests.back()) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (request.round() == position_.closed_round) have_read_.insert(site);
  }
  v1::Chunk chunk;
  chunk.set_run(options_.run);
  chunk.set_round(request.round());
  chunk.set_sha256(request.sha256());
  chunk.set_content(*std::move(content));
  return chunk;
}

}  // namespace fedalt
