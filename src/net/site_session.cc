#include "net/site_session.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/check.h"
#include "base/random.h"
#include "fed/chunks.h"
#include "fed/upload_format.h"

namespace fedalt {
namespace {

constexpr int64_t kPollMs = 20'000, kFirstPauseMs = 200, kLongestPauseMs = 15'000;

/// Whether the same call may succeed later.
bool IsPassing(const Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsResourceExhausted(status) ||
         absl::IsAborted(status);
}

std::string BytesOf(const Sha256Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

}  // namespace

SiteSession::SiteSession(SiteSessionOptions options, ServerConnection& connection, Clock& clock,
                         std::function<void(const std::string&)> tell)
    : options_(std::move(options)), connection_(connection), clock_(clock), tell_(std::move(tell)) {}

Status SiteSession::Final(const Status& status) {
  if (KindOf(status) != ErrorKind::kInternal) return status;
  return FederationError(absl::StrCat("the server refused: ", status.message()));
}

Status SiteSession::AskUntil(Rpc rpc, const std::string& request, int64_t patience_ms,
                             const std::function<bool(const std::string&)>& parse) {
  const int64_t begun = clock_.MonotonicMs();
  for (int64_t pause = kFirstPauseMs;; pause = std::min(2 * pause, kLongestPauseMs)) {
    StatusOr<std::string> answer = connection_.Call(rpc, request, CallTimeoutMs(rpc, request.size()));
    if (answer.ok()) {
      if (parse(*answer)) return absl::OkStatus();
      answer = absl::UnavailableError("the answer is no message of this protocol");
    }
    if (!IsPassing(answer.status())) return answer.status();
    if (clock_.MonotonicMs() - begun > patience_ms)
      return MakeError(ErrorKind::kNotNow,
                       absl::StrCat("the server gave no answer for ", patience_ms / 1000, " s (", answer.status().message(),
                                    "); start the site again when it can be reached"));
    const std::string waits = absl::StrCat("waits for the server (", answer.status().message(), ")");
    if (told_ != waits && tell_) tell_(waits);
    told_ = waits;
    // Sites that lost the server together come back one by one.
    const uint64_t now = static_cast<uint64_t>(clock_.MonotonicMs());
    const double spread = 0.5 + RandomStream(now, RandomPurpose::kParticipation, {std::hash<std::string>()(request)}).Uniform(0);
    RETURN_IF_ERROR(clock_.Sleep(static_cast<int64_t>(static_cast<double>(pause) * spread)));
  }
}

Status SiteSession::Note(const std::string& kind, const nlohmann::json& body) {
  return options_.record == nullptr ? absl::OkStatus() : options_.record->Note(kind, body);
}

/// A state is the server's own word, and of no older server than the last one.
Status SiteSession::Accept(const v1::RunState& state) {
  const auto& verifies = options_.signatures.verifies;
  if (verifies && !verifies(Signatures::kServer, StartMessage(run_, state.start(), state.instance()), state.start_signature()))
    return IntegrityError("the server's signature is not valid under its key in the roster; ask who runs it before going on");
  const bool older = state.start() < state_.start() ||
                     (state.start() == state_.start() && state.start() > 0 && state.instance() != state_.instance());
  if (older)
    return FederationError(
        absl::StrCat("two servers work on ", run_, ": this site has heard of start ", state_.start(), ", and now another start ",
                     state.start(), " answers at round ", state.round(),
                     ": the server was put back, or runs twice; put its newest directory back, or begin a new run"));
  state_ = state;
  if (state.notice() != noticed_ && !state.notice().empty() && tell_) tell_(absl::StrCat("the server says: ", state.notice()));
  noticed_ = state.notice();
  return absl::OkStatus();
}

Status SiteSession::Enrol(bool anew) {
  v1::EnrolRequest request;
  request.set_oldest_protocol(kOldestProtocol);
  request.set_newest_protocol(kNewestProtocol);
  request.set_agreement(options_.agreement);
  request.set_train_examples(options_.train_examples);
  request.set_reports(options_.reports);
  request.set_process(options_.process);
  request.set_anew(anew);
  StatusOr<v1::EnrolReply> reply = Ask<v1::EnrolReply>(Rpc::kEnrol, request);
  constexpr int kChallenges = 100;  // another one only where an answer was lost, or a copy of an old message came in between
  for (int i = 0; i < kChallenges && reply.ok() && !reply->challenge().empty(); ++i) {
    request.set_challenge(reply->challenge());
    reply = Ask<v1::EnrolReply>(Rpc::kEnrol, request);
  }
  if (!reply.ok()) return Final(reply.status());
  if (!reply->challenge().empty()) return FederationError("the server asks for one challenge after the other; it may be damaged");
  run_ = reply->run();
  enrolled_ = *reply;
  anew_ = anew;
  return Accept(reply->state());
}

StatusOr<int64_t> SiteSession::JoinsAfter() {
  if (options_.record != nullptr) RETURN_IF_ERROR(options_.record->Begin(run_));
  RETURN_IF_ERROR(Note("enrolment", {{"agreement_sha256", HexOf(Sha256(options_.agreement))},
                                     {"train_examples", options_.train_examples},
                                     {"anew", anew_},
                                     {"join_after", enrolled_.join_after()},
                                     {"server_start", enrolled_.state().start()}}));
  return anew_ ? enrolled_.join_after() : int64_t{0};
}

Status SiteSession::Leave(const std::string& cause) {
  v1::LeaveRequest request;
  request.set_run(run_);
  request.set_cause(cause);
  request.set_enrolment(enrolled_.enrolment());
  const auto reply = Ask<v1::LeaveReply>(Rpc::kLeave, request);
  if (!reply.ok()) return Final(reply.status());
  RETURN_IF_ERROR(Note("departure", {{"cause", cause}}));
  return options_.record == nullptr ? absl::OkStatus() : options_.record->Seal();
}

Status SiteSession::Poll() {
  v1::PollRequest request;
  request.set_run(run_);
  request.set_known_version(state_.version());
  request.set_wait_ms(kPollMs);
  request.set_known_start(state_.start());
  request.set_known_instance(state_.instance());
  request.set_known_signature(state_.start_signature());
  request.set_process(options_.process);
  const auto state = Ask<v1::RunState>(Rpc::kPoll, request);
  return state.ok() ? Accept(*state) : Final(state.status());
}

std::string SiteSession::SignOfLife() const {
  v1::PollRequest request;
  request.set_run(run_);
  request.set_process(options_.process);
  return request.SerializeAsString();
}

Status SiteSession::WaitUntil(const std::function<bool(const v1::RunState&)>& done) {
  for (;;) {
    if (done(state_)) return absl::OkStatus();
    if (state_.phase() == v1::PHASE_ENDED) return FederationError(absl::StrCat("the run has ended: ", state_.cause()));
    const std::string waits = absl::StrCat("waits for ", state_.waiting_for());
    if (told_ != waits && tell_) tell_(waits);
    told_ = waits;
    RETURN_IF_ERROR(Poll());
  }
}

std::unique_ptr<Progress> SiteSession::Begin(const std::string& what, int64_t chunks, int64_t done) const {
  if (!options_.progress || chunks < 2) return nullptr;
  return std::make_unique<Progress>(chunks, what + " (chunks)", done, *options_.progress);
}

Status SiteSession::PutChunks(const Upload& upload, const v1::UploadManifest& manifest, const v1::MissingChunks& missing) {
  int64_t done = manifest.chunks_size() - missing.chunks_size();
  const auto progress = Begin(absl::StrCat("round ", upload.round, ", upload"), manifest.chunks_size(), done);
  for (const int64_t i : missing.chunks()) {
    if (i < 0 || i >= manifest.chunks_size())
      return absl::InternalError(
          absl::StrCat("the server asked for chunk ", i, "; this upload has ", manifest.chunks_size(), " chunks"));
    v1::Chunk chunk;
    chunk.set_run(run_);
    chunk.set_round(upload.round);
    chunk.set_sha256(manifest.chunks(static_cast<int>(i)));
    chunk.set_content(std::string(ChunkOf(upload.values, i)));
    RETURN_IF_ERROR(Ask<v1::PutChunkReply>(Rpc::kPutChunk, chunk).status());
    if (progress) progress->Update(++done);
  }
  return absl::OkStatus();
}

/// One try in the open attempt. OK: acknowledged.
Status SiteSession::Transmit(const Upload& upload) {
  v1::UploadManifest manifest;
  manifest.set_run(run_);
  manifest.set_round(upload.round);
  manifest.set_attempt(state_.attempt());
  const ChunkList chunks = ChunksOf(upload.values);
  manifest.set_values(chunks.values);
  for (const Sha256Digest& digest : chunks.digests) manifest.add_chunks(BytesOf(digest));
  nlohmann::json body = {{"round", upload.round},
                         {"attempt", state_.attempt()},
                         {"weight", upload.weight},
                         {"bytes", upload.values.nbytes()},
                         {"content_sha256", sent_content_}};
  const RecordedContribution sent{options_.site, upload.round, upload.weight, sent_content_};
  if (options_.record != nullptr) RETURN_IF_ERROR(options_.record->SaveSent(sent, body));
  ASSIGN_OR_RETURN(const v1::MissingChunks missing, Ask<v1::MissingChunks>(Rpc::kBeginUpload, manifest));
  if (missing.committed()) return absl::OkStatus();
  RETURN_IF_ERROR(PutChunks(upload, manifest, missing));
  RETURN_IF_ERROR(Ask<v1::CommitReply>(Rpc::kCommitUpload, manifest).status());
  return Note("upload.acknowledged", body);
}

Status SiteSession::WentBackError(int64_t round) const {
  return FederationError(
      absl::StrCat("the server is at round ", state_.round(), " of ", run_,
                   ", but this site has read what later rounds published and is at round ", round,
                   ": the server was put back, or began anew; put its newest directory back, or begin a new run"));
}

Status SiteSession::Send(Upload upload) {
  upload_ = std::move(upload);
  upload_.values = Encoded(upload_.values.contiguous(), options_.upload);
  sent_content_ = ContentHash(ChunksOf(upload_.values));
  return Deliver();
}

void SiteSession::TellLeftOut(const std::string& why) {
  left_out_told_ = true;
  if (tell_)
    tell_(absl::StrCat(why,
                       "; this site goes on as if it were absent. If it happens again its adapter has diverged: stop it, and "
                       "rejoin in a new directory with a lower train.lr"));
}

Status SiteSession::Deliver() {
  sent_attempt_ = 0;
  left_out_told_ = false;
  for (;;) {
    RETURN_IF_ERROR(WaitUntil([&](const v1::RunState& state) {
      return state.closed_round() >= upload_.round || WentBack(state, upload_.round) ||
             (state.phase() == v1::PHASE_COLLECTING && state.round() == upload_.round);
    }));
    if (WentBack(state_, upload_.round)) return WentBackError(upload_.round);
    if (state_.closed_round() >= upload_.round) return absl::OkStatus();  // without this site: Published::own_round tells
    const v1::RunState before = state_;
    const Status sent = Transmit(upload_);
    if (sent.ok()) sent_attempt_ = before.attempt();
    if (absl::IsOutOfRange(sent)) {
      sent_attempt_ = before.attempt();
      TellLeftOut(std::string(sent.message()));
      return Note("upload.left_out", {{"round", upload_.round}, {"attempt", before.attempt()}, {"reason", sent.message()}});
    }
    if (sent.ok() || !absl::IsFailedPrecondition(sent)) return sent.ok() ? sent : Final(sent);
    // The round, or the attempt, has gone on meanwhile; if it has not, the refusal is meant.
    RETURN_IF_ERROR(Poll());
    if (state_.round() == before.round() && state_.attempt() == before.attempt() && state_.version() == before.version())
      return Final(sent);
  }
}

/// What a round published, chunk by chunk. Errors: also those of Final.
StatusOr<at::Tensor> SiteSession::Download(int64_t round, const ChunkList& chunks) {
  const auto progress = Begin(absl::StrCat("round ", round, ", download"), static_cast<int64_t>(chunks.digests.size()), 0);
  int64_t done = 0;
  auto values = FromChunks(chunks, [&](const Sha256Digest& digest) -> StatusOr<std::string> {
    v1::ChunkRequest request;
    request.set_run(run_);
    request.set_round(round);
    request.set_sha256(BytesOf(digest));
    for (int tries = 0;; ++tries) {
      auto chunk = Ask<v1::Chunk>(Rpc::kGetChunk, request);
      if (!chunk.ok()) return Final(chunk.status());
      constexpr int kTries = 3;  // a bit that flipped on the way does not come again
      if (Sha256(chunk->content()) != digest && tries + 1 < kTries) continue;
      if (progress) progress->Update(++done);
      return std::move(*chunk->mutable_content());
    }
  });
  if (values.ok()) return values;
  const Status failed = Annotate(values.status(), absl::StrCat("what round ", round, " published"));
  // No file of this site is damaged.
  return KindOf(failed) == ErrorKind::kOutput ? FederationError(std::string(failed.message())) : failed;
}

StatusOr<Published> SiteSession::CloseRound(int64_t round) {
  const auto again = [&](const v1::RunState& state) {  // the attempt in which the upload counted was abandoned
    return upload_.round == round && state.phase() == v1::PHASE_COLLECTING && state.round() == round &&
           state.attempt() != sent_attempt_;
  };
  do {
    if (again(state_)) RETURN_IF_ERROR(Deliver());
    RETURN_IF_ERROR(WaitUntil(
        [&](const v1::RunState& state) { return state.closed_round() >= round || WentBack(state, round) || again(state); }));
    if (WentBack(state_, round)) return WentBackError(round);
  } while (state_.closed_round() < round);
  v1::ManifestRequest request;
  request.set_run(run_);
  request.set_round(round);
  const auto manifest = Ask<v1::PublishedManifest>(Rpc::kGetManifest, request);
  if (!manifest.ok()) return Final(manifest.status());
  ASSIGN_OR_RETURN(const RoundRecord record, Witness(round, *manifest));
  RETURN_IF_ERROR(TellCounted(record));
  ChunkList chunks{manifest->values(), {}};
  if (manifest->values() < 0 || manifest->chunks_size() != ChunkCount(manifest->values()))
    return FederationError(
        absl::StrCat("the server published ", manifest->values(), " values in ", manifest->chunks_size(), " chunks"));
  for (const std::string& bytes : manifest->chunks()) {
    Sha256Digest digest{};
    if (bytes.size() != digest.size()) return FederationError("the server names a chunk by something that is no SHA-256");
    std::copy(bytes.begin(), bytes.end(), digest.begin());
    chunks.digests.push_back(digest);
  }
  if (const RecordedContent* content = record.ContentFor(options_.site);
      content == nullptr || content->content != ContentHash(chunks))
    return IntegrityError(
        absl::StrCat("round ", round, ": the server offers ", ContentHash(chunks), " to this site, and its record says ",
                     content == nullptr ? "that there is nothing" : content->content, "; ask who runs the server before going on"));
  auto values = Download(round, chunks);
  if (!values.ok()) return values.status();
  Published published;
  published.round = round;
  published.total_weight = record.total_weight;
  published.contributors = static_cast<int64_t>(record.contributors.size());
  published.values = *std::move(values);
  const RecordedContribution* const own = record.ContributionOf(options_.site);
  published.own_round = own == nullptr ? 0 : own->round;
  if (own != nullptr && own->round == round) published.own_weight = own->weight;
  if (!manifest->left_out().empty() && upload_.round == round && !left_out_told_)
    TellLeftOut(absl::StrCat("the contribution of round ", round, " was left out: ", manifest->left_out()));
  return published;
}

StatusOr<std::vector<Upload>> SiteSession::CloseRoundWithUploads(int64_t) {
  FEDALT_CHECK(false, "the server aggregates");
}

void SiteSession::Report(int64_t round, const std::map<std::string, double>& values) {
  if (!options_.reports) return;
  v1::Metrics request;
  request.set_run(run_);
  request.set_round(round);
  for (const auto& [name, value] : values)
    if (std::isfinite(value)) (*request.mutable_values())[name] = value;
  const Status noted = Note("metrics", {{"round", round}, {"values", values}});
  const std::string bytes = request.SerializeAsString();
  const Status sent =
      noted.ok() ? connection_.Call(Rpc::kReport, bytes, CallTimeoutMs(Rpc::kReport, bytes.size())).status() : noted;
  if (!sent.ok() && tell_) tell_(absl::StrCat("the report of round ", round, " did not arrive (", sent.message(), ")"));
}

}  // namespace fedalt
