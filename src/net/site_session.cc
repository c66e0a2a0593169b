#include "net/site_session.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/random.h"
#include "fed/chunks.h"

namespace fedalt {
namespace {

constexpr int64_t kCallMs = 60'000, kPollMs = 20'000, kFirstPauseMs = 200, kLongestPauseMs = 15'000;

/// Whether the same call may succeed later.
bool IsPassing(const Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsResourceExhausted(status) ||
         absl::IsAborted(status);
}

/// The server's own errors as one of ours.
Status Final(const Status& status) {
  if (KindOf(status) != ErrorKind::kInternal) return status;
  return FederationError(absl::StrCat("the server refused: ", status.message()));
}

std::string BytesOf(const Sha256Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

}  // namespace

SiteSession::SiteSession(SiteSessionOptions options, ServerConnection& connection, Clock& clock,
                         std::function<void(const std::string&)> tell)
    : options_(std::move(options)), connection_(connection), clock_(clock), tell_(std::move(tell)) {}

/// Calls until there is an answer. An error is the server's own or kInterrupted.
template <typename Reply, typename Request>
StatusOr<Reply> SiteSession::Ask(Rpc rpc, const Request& request) {
  const std::string bytes = request.SerializeAsString();
  const int64_t begun = clock_.NowMs();
  for (int64_t pause = kFirstPauseMs;; pause = std::min(2 * pause, kLongestPauseMs)) {
    StatusOr<std::string> answer = connection_.Call(rpc, bytes, kCallMs);
    if (answer.ok()) {
      Reply reply;
      if (reply.ParseFromString(*answer)) return reply;
      answer = absl::UnavailableError("the answer is no message of this protocol");
    }
    if (!IsPassing(answer.status())) return answer.status();
    if (clock_.NowMs() - begun > options_.patience_ms)
      return FederationError(absl::StrCat("the server gave no answer for ", options_.patience_ms / 1000, " s (",
                                          answer.status().message(), "); start the site again when it can be reached"));
    const std::string waits = absl::StrCat("waits for the server (", answer.status().message(), ")");
    if (told_ != waits && tell_) tell_(waits);
    told_ = waits;
    // Sites that lost the server together come back one by one.
    const uint64_t now = static_cast<uint64_t>(clock_.NowMs());
    const double spread = 0.5 + RandomStream(now, RandomPurpose::kParticipation, {std::hash<std::string>()(bytes)}).Uniform(0);
    RETURN_IF_ERROR(clock_.Sleep(static_cast<int64_t>(static_cast<double>(pause) * spread)));
  }
}

Status SiteSession::Enrol() {
  v1::EnrolRequest request;
  request.set_oldest_protocol(kOldestProtocol);
  request.set_newest_protocol(kNewestProtocol);
  request.set_agreement(options_.agreement);
  request.set_train_examples(options_.train_examples);
  const auto reply = Ask<v1::EnrolReply>(Rpc::kEnrol, request);
  if (!reply.ok()) return Final(reply.status());
  run_ = reply->run();
  state_ = reply->state();
  return absl::OkStatus();
}

Status SiteSession::Poll() {
  v1::PollRequest request;
  request.set_run(run_);
  request.set_known_version(state_.version());
  request.set_wait_ms(kPollMs);
  const auto state = Ask<v1::RunState>(Rpc::kPoll, request);
  if (!state.ok()) return Final(state.status());
  state_ = *state;
  return absl::OkStatus();
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

/// One try in the open attempt. OK: acknowledged.
Status SiteSession::Transmit(const Upload& upload) {
  v1::UploadManifest manifest;
  manifest.set_run(run_);
  manifest.set_round(upload.round);
  manifest.set_attempt(state_.attempt());
  manifest.set_weight(upload.weight);
  const ChunkList chunks = ChunksOf(upload.values);
  manifest.set_values(chunks.values);
  for (const Sha256Digest& digest : chunks.digests) manifest.add_chunks(BytesOf(digest));
  ASSIGN_OR_RETURN(const v1::MissingChunks missing, Ask<v1::MissingChunks>(Rpc::kBeginUpload, manifest));
  if (missing.committed()) return absl::OkStatus();
  for (const int64_t i : missing.chunks()) {
    if (i < 0 || i >= manifest.chunks_size()) return absl::InternalError("the server asks for a piece that there is not");
    v1::Chunk chunk;
    chunk.set_run(run_);
    chunk.set_round(upload.round);
    chunk.set_sha256(manifest.chunks(static_cast<int>(i)));
    chunk.set_content(std::string(ChunkOf(upload.values, i)));
    RETURN_IF_ERROR(Ask<v1::PutChunkReply>(Rpc::kPutChunk, chunk).status());
  }
  return Ask<v1::CommitReply>(Rpc::kCommitUpload, manifest).status();
}

Status SiteSession::WentBackError(int64_t round) const {
  return FederationError(
      absl::StrCat("the server is at round ", state_.round(), " of ", run_,
                   ", but this site has read what later rounds published and is at round ", round,
                   ": the server was put back, or began anew; put its newest directory back, or begin a new run"));
}

Status SiteSession::Send(Upload upload) {
  upload_ = std::move(upload);
  upload_.values = upload_.values.contiguous();
  return Deliver();
}

Status SiteSession::Deliver() {
  sent_attempt_ = 0;
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
    if (sent.ok() || !absl::IsFailedPrecondition(sent)) return sent.ok() ? sent : Final(sent);
    // The round, or the attempt, has gone on meanwhile; if it has not, the refusal is meant.
    RETURN_IF_ERROR(Poll());
    if (state_.round() == before.round() && state_.attempt() == before.attempt() && state_.version() == before.version())
      return Final(sent);
  }
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
  ChunkList chunks{manifest->values(), {}};
  if (manifest->values() < 0 || manifest->chunks_size() != ChunkCount(manifest->values()))
    return FederationError(
        absl::StrCat("the server published ", manifest->values(), " values in ", manifest->chunks_size(), " pieces"));
  for (const std::string& bytes : manifest->chunks()) {
    Sha256Digest digest{};
    if (bytes.size() != digest.size()) return FederationError("the server names a piece by something that is no SHA-256");
    std::copy(bytes.begin(), bytes.end(), digest.begin());
    chunks.digests.push_back(digest);
  }
  auto values = FromChunks(chunks, [&](const Sha256Digest& digest) -> StatusOr<std::string> {
    v1::ChunkRequest piece;
    piece.set_run(run_);
    piece.set_round(round);
    piece.set_sha256(BytesOf(digest));
    for (int tries = 0;; ++tries) {
      auto chunk = Ask<v1::Chunk>(Rpc::kGetChunk, piece);
      if (!chunk.ok()) return Final(chunk.status());
      constexpr int kTries = 3;  // a bit that flipped on the way does not come again
      if (Sha256(chunk->content()) == digest || tries + 1 == kTries) return std::move(*chunk->mutable_content());
    }
  });
  if (!values.ok()) return Annotate(values.status(), absl::StrCat("what round ", round, " published"));
  Published published;
  published.round = round;
  published.total_weight = manifest->total_weight();
  published.contributors = manifest->contributors();
  published.values = *std::move(values);
  published.own_round = manifest->own_round();
  return published;
}

StatusOr<std::vector<Upload>> SiteSession::CloseRoundWithUploads(int64_t) {
  FEDALT_CHECK(false, "the server aggregates");
}

}  // namespace fedalt
