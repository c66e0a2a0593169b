// links: base proto deps_torch
// sources: src/net/server_core.cc src/net/server_records.cc src/net/server_rounds.cc
// sources: src/net/server_uploads.cc src/net/callers.cc
// sources: src/fed/chunks.cc src/fed/cohort.cc src/fed/upload_format.cc src/fed/round_record.cc
// sources: src/fed/closing_record.cc src/fed/waiting.cc
//
// A server's state machine against calls of any bytes, in any order, from any site, with restarts and a disk that fails: it moves
// only by what is valid, and says what it refuses.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "base/check.h"
#include "fuzz/everybody.h"
#include "fuzz/script.h"
#include "net/dispatch.h"
#include "net/memory_journal.h"

namespace fedalt {

namespace fuzz {
namespace {

constexpr int64_t kSites = 3, kRounds = 3, kMinimum = 2, kDeadlineMs = 60'000, kSmall = 5, kTwoPieces = kChunkBytes / 4 + 1;
constexpr char kRun[] = "r", kAgreement[] = "model a\nvorlage \xc3\xa4\xc3\xb6\n";

class SettableClock : public Clock {
 public:
  int64_t now_ms = 1000;
  int64_t NowMs() const override { return now_ms; }
  int64_t MonotonicMs() const override { return NowMs(); }
  Status Sleep(int64_t) override { return absl::OkStatus(); }
};

/// A contribution of one site; there are two, so that they can be in conflict.
struct Content {
  std::vector<std::string> pieces;
  std::vector<std::string> digests;
};

std::string DigestBytes(std::string_view bytes) {
  const Sha256Digest digest = Sha256(bytes);
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

Content ContentOf(int64_t values, size_t variant) {
  std::string bytes(static_cast<size_t>(values) * sizeof(float), '\0');
  const float first = static_cast<float>(variant);
  std::memcpy(bytes.data(), &first, sizeof(first));
  Content content;
  for (int64_t i = 0; i < ChunkCount(values); ++i)
    content.pieces.push_back(bytes.substr(static_cast<size_t>(i * kChunkBytes), static_cast<size_t>(ChunkSize(values, i))));
  for (const std::string& piece : content.pieces) content.digests.push_back(DigestBytes(piece));
  return content;
}

const Content& KnownContent(int64_t values, size_t variant) {
  static const Content contents[] = {ContentOf(kSmall, 0), ContentOf(kSmall, 1), ContentOf(kTwoPieces, 0),
                                     ContentOf(kTwoPieces, 1)};
  return contents[(values == kSmall ? 0 : 2) + variant];
}

class Server {
 public:
  Server(Script& script, int64_t values) : script_(script), values_(values) {
    journal_.disk = [this] {
      if (failing_ == 0) return testing::MemoryJournal::Disk::kGood;
      --failing_;
      return testing::MemoryJournal::Disk::kFailsBefore;
    };
    Start();
  }

  void Run() {
    constexpr int kMostSteps = 400;
    for (int step = 0; step < kMostSteps && !script_.done(); ++step) Step();
    CheckRounds();
  }

 private:
  void Start() {
    ServerOptions options;
    options.run = kRun;
    options.agreement = kAgreement;
    options.sites = {"osaka", "lyon", "quito"};
    for (int64_t round = 1; round <= kRounds; ++round) options.exchange_rounds.push_back(round);
    options.values = values_;
    options.minimum_cohort = kMinimum;
    options.deadline_ms = kDeadlineMs;
    options.instance = std::to_string(journal_.starts);
    options.signatures = testing::ToySignatures(Signatures::kServer);
    const int64_t failing = std::exchange(failing_, 0);
    closing_.reset();
    core_ = std::make_unique<ServerCore>(options, journal_, clock_);
    FEDALT_CHECK(core_->Recover().ok(), "a good disk recovers");
    failing_ = failing;
  }

  void Step() {
    switch (script_.Below(8)) {
      case 0: {
        const Rpc rpc = AnyRpc();
        const int64_t site = AnySite();
        return Call(site, rpc, script_.Bytes());
      }
      case 1: {
        const Rpc rpc = AnyRpc();
        const int64_t site = AnySite();
        return Call(site, rpc, Valid(rpc, /*spoilt=*/false));
      }
      case 2: {
        const Rpc rpc = AnyRpc();
        const int64_t site = AnySite();
        return Call(site, rpc, script_.Mutated(Valid(rpc, /*spoilt=*/false)));
      }
      case 3: {
        const Rpc rpc = AnyRpc();
        const int64_t site = AnySite();
        return Call(site, rpc, Valid(rpc, /*spoilt=*/true));
      }
      case 4:
        return Tick();
      case 5:
        return Finish();
      case 6:
        clock_.now_ms += int64_t{script_.Byte()} * 1000;
        return;
      default:
        failing_ = static_cast<int64_t>(script_.Below(4));
        if (failing_ == 0) Start();
    }
  }

  Rpc AnyRpc() { return static_cast<Rpc>(script_.Below(10)); }
  int64_t AnySite() { return static_cast<int64_t>(script_.Below(kSites)); }

  /// What a site could send now; `spoilt`: with one field of any value.
  std::string Valid(Rpc rpc, bool spoilt) {
    const size_t variant = script_.Below(2), field = spoilt ? script_.Below(6) : 99;
    const int64_t number = spoilt ? static_cast<int64_t>(script_.Long()) : 0;
    const std::string text = spoilt ? script_.Bytes() : "";
    const v1::RunState state = core_->state();
    const Content& content = KnownContent(values_, variant);
    const std::string run = field == 0 ? text : kRun;
    const int64_t round = field == 1 ? number : state.round(), closed = field == 1 ? number : state.closed_round();
    switch (rpc) {
      case Rpc::kEnrol: {
        v1::EnrolRequest request;
        request.set_oldest_protocol(field == 2 ? static_cast<int32_t>(number) : kOldestProtocol);
        request.set_newest_protocol(field == 3 ? static_cast<int32_t>(number) : kNewestProtocol);
        request.set_agreement(field == 0 ? text : kAgreement);
        request.set_train_examples(field == 1 ? number : 5);
        request.set_challenge(field == 4 ? text : challenge_);
        request.set_anew(script_.Below(4) == 1);
        return request.SerializeAsString();
      }
      case Rpc::kPoll: {
        v1::PollRequest request;
        request.set_run(run);
        return request.SerializeAsString();
      }
      case Rpc::kBeginUpload:
      case Rpc::kCommitUpload: {
        v1::UploadManifest manifest;
        manifest.set_run(run);
        manifest.set_round(round);
        manifest.set_attempt(field == 2 ? number : state.attempt());
        manifest.set_values(field == 4 ? number : values_);
        for (const std::string& digest : content.digests) manifest.add_chunks(digest);
        if (field == 5) manifest.add_chunks(text);
        if (field == 5 && number % 2 == 0) manifest.mutable_chunks()->SwapElements(0, manifest.chunks_size() - 1);
        if (field == 5 && number % 4 < 2) manifest.mutable_chunks()->RemoveLast();
        return manifest.SerializeAsString();
      }
      case Rpc::kPutChunk: {
        v1::Chunk chunk;
        chunk.set_run(run);
        chunk.set_round(round);
        const size_t piece = script_.Below(content.pieces.size());
        chunk.set_content(field == 3 ? text : content.pieces[piece]);
        chunk.set_sha256(field == 2 ? text : field == 3 ? DigestBytes(text) : content.digests[piece]);
        return chunk.SerializeAsString();
      }
      case Rpc::kGetManifest: {
        v1::ManifestRequest request;
        request.set_run(run);
        request.set_round(closed);
        return request.SerializeAsString();
      }
      case Rpc::kGetChunk: {
        v1::ChunkRequest request;
        request.set_run(run);
        request.set_round(closed);
        const auto published = journal_.published.find(closed);
        request.set_sha256(content.digests.front());
        if (published != journal_.published.end()) {
          const Sha256Digest& digest = published->second.chunks.digests.back();
          request.set_sha256(std::string(digest.begin(), digest.end()));
        }
        if (field == 2) request.set_sha256(text);
        return request.SerializeAsString();
      }
      case Rpc::kCountersign: {
        v1::Countersignature request;
        request.set_run(run);
        request.set_round(closed);
        if (const auto record = journal_.RecordOf(closed); record.ok())
          request.set_signature(
              testing::ToySignatures(static_cast<int64_t>(variant)).sign(AdoptionMessage(RecordDigest(record->bytes))));
        if (field == 2) request.set_signature(text);
        if (field == 3) request.set_refused(text);
        return request.SerializeAsString();
      }
      case Rpc::kReport: {
        v1::Metrics request;
        request.set_run(run);
        request.set_round(closed);
        double value = 1.0;
        if (field == 3) std::memcpy(&value, &number, sizeof(value));
        (*request.mutable_values())[field == 2 ? text : "loss"] = value;
        return request.SerializeAsString();
      }
      case Rpc::kLeave: {
        v1::LeaveRequest request;
        request.set_run(run);
        request.set_cause(field == 2 ? text : "enough");
        const auto& enrolments = journal_.position().enrolments;
        request.set_enrolment(field == 3 || enrolments.empty() ? text : enrolments.begin()->second);
        return request.SerializeAsString();
      }
    }
    return {};
  }

  void Call(int64_t site, Rpc rpc, const std::string& request) {
    const ServerPosition before = journal_.position();
    const size_t refusals = journal_.refusals.size(), departed = journal_.departed.size();
    const bool disk_fails = failing_ > 0;
    const StatusOr<std::string> answer = testing::Dispatch(*core_, site, rpc, request);
    CheckCode(answer.status(), rpc, refusals, disk_fails);
    if (v1::EnrolReply reply; rpc == Rpc::kEnrol && answer.ok() && reply.ParseFromString(*answer)) challenge_ = reply.challenge();
    if (journal_.departed.size() > departed) {
      CheckDeparted(before, journal_.position(), site, rpc);
    } else {
      CheckMoved(before, journal_.position(), site, rpc, answer.ok());
    }
    CheckTold();
  }

  void CheckCode(const Status& status, Rpc rpc, size_t refusals, bool disk_fails) {
    switch (status.code()) {
      case absl::StatusCode::kOk:
        return;
      case absl::StatusCode::kUnavailable:
        FEDALT_CHECK(disk_fails || closing_, "a server with a good disk can answer");
        return;
      case absl::StatusCode::kInvalidArgument:
      case absl::StatusCode::kAlreadyExists:
        break;
      case absl::StatusCode::kFailedPrecondition:
      case absl::StatusCode::kNotFound:
      case absl::StatusCode::kPermissionDenied:   // who takes no part reads nothing
      case absl::StatusCode::kResourceExhausted:  // a budget is spent
      case absl::StatusCode::kOutOfRange:         // the contribution is left out
        FEDALT_CHECK(!status.message().empty(), "a refusal says why");
        return;
      default:
        FEDALT_CHECK(false, "a code of those that the server may answer with");
    }
    FEDALT_CHECK(!status.message().empty(), "a refusal says why");
    const bool writes = rpc == Rpc::kEnrol || rpc == Rpc::kBeginUpload || rpc == Rpc::kPutChunk || rpc == Rpc::kCommitUpload;
    if (!writes || status.message() == "no message of this protocol") return;
    constexpr size_t kRecorded = 100;  // of a site, in an attempt
    const bool noted = journal_.refusals.size() == refusals + 1 && journal_.refusals.back() == status.message();
    FEDALT_CHECK(noted || (journal_.refusals.size() == refusals && refusals >= kRecorded), "a refusal is noted");
  }

  /// A site that leaves, or comes anew, takes with it what counted of it, and nothing of others.
  void CheckDeparted(ServerPosition before, const ServerPosition& after, int64_t site, Rpc rpc) {
    FEDALT_CHECK(rpc == Rpc::kEnrol || rpc == Rpc::kLeave, "departed by these calls alone");
    FEDALT_CHECK(before.enrolled.contains(site) && !closing_, "it took part, and no round was being closed");
    FEDALT_CHECK(!after.ledger.contains(site) && !after.received.contains(site), "nothing of it counts");
    before.ledger.erase(site);
    before.received.erase(site);
    FEDALT_CHECK(after.ledger.size() == before.ledger.size() && after.received.size() == before.received.size(),
                 "what others sent stays");
    FEDALT_CHECK(rpc == Rpc::kEnrol || !after.enrolled.contains(site), "who left takes part no longer");
    FEDALT_CHECK(after.closed_round == before.closed_round && after.attempt == before.attempt && after.ended == before.ended,
                 "no call closes a round, an attempt or the run");
  }

  void CheckMoved(const ServerPosition& before, const ServerPosition& after, int64_t site, Rpc rpc, bool ok) {
    FEDALT_CHECK(after.closed_round == before.closed_round && after.attempt == before.attempt && after.ended == before.ended &&
                     after.opened_ms == before.opened_ms && after.ledger.size() == before.ledger.size(),
                 "no call closes a round, an attempt or the run");
    if (after.enrolled != before.enrolled) {
      FEDALT_CHECK(rpc == Rpc::kEnrol && ok && after.enrolled.size() == before.enrolled.size() + 1 && after.enrolled.at(site) > 0,
                   "enrolled by an enrolment alone");
    }
    FEDALT_CHECK(journal_.saved_twice == 0, "an upload is recorded once");
    if (after.received.size() == before.received.size()) return;
    FEDALT_CHECK(rpc == Rpc::kCommitUpload && ok && after.received.size() == before.received.size() + 1,
                 "received by a commit alone");
    const SiteContribution& got = after.received.at(site);
    FEDALT_CHECK(!before.ended && got.site == site && got.round == before.closed_round + 1 && got.attempt == before.attempt,
                 "it belongs to the open attempt");
    FEDALT_CHECK(got.weight > 0.0 && got.weight <= 1e12 && got.chunks.values == values_, "its weight and size are right");
    FEDALT_CHECK(static_cast<int64_t>(got.chunks.digests.size()) == ChunkCount(values_), "all its pieces are named");
    for (size_t i = 0; i < got.chunks.digests.size(); ++i) {
      const auto piece = journal_.GetChunk(got.chunks.digests[i]);
      FEDALT_CHECK(piece.ok() && static_cast<int64_t>(piece->size()) == ChunkSize(values_, static_cast<int64_t>(i)) &&
                       Sha256(*piece) == got.chunks.digests[i],
                   "all its pieces are there");
      for (size_t at = 0; at < piece->size(); at += sizeof(float)) {
        float value = 0.0F;
        std::memcpy(&value, &(*piece)[at], sizeof(value));
        FEDALT_CHECK(std::isfinite(value), "its values are finite");
      }
    }
  }

  /// Nothing is told that is not recorded.
  void CheckTold() {
    const v1::RunState state = core_->state();
    const ServerPosition& position = journal_.position();
    FEDALT_CHECK(state.closed_round() == position.closed_round && state.attempt() == position.attempt &&
                     state.cause() == position.ended.value_or("") &&
                     (state.phase() == v1::PHASE_ENDED) == position.ended.has_value(),
                 "the state is the recorded one");
  }

  void Tick() {
    const bool disk_fails = failing_ > 0;
    auto closing = core_->Tick();
    FEDALT_CHECK(closing.ok() || disk_fails, "a good disk lets it go on");
    if (closing.ok() && *closing) {
      FEDALT_CHECK(!closing_, "one round is closed at a time");
      closing_ = **std::move(closing);
    }
    CheckTold();
  }

  void Finish() {
    const bool fails = script_.Below(4) == 1;
    if (!closing_) Tick();
    if (!closing_) return;
    const bool disk_fails = failing_ > 0;
    const ClosingRound round = *std::exchange(closing_, std::nullopt);
    StatusOr<PublishedObject> published = TrainingError("the sum refuses this");
    if (!fails) {
      const std::string sum(static_cast<size_t>(std::min(values_, kSmall)) * sizeof(float), static_cast<char>(round.round));
      published = PublishedObject{round.round, 1.0, {std::min(values_, kSmall), {Sha256(sum)}}, {}, {}};
      for (const auto* part : {&round.received, &round.absent})
        for (const SiteContribution& contribution : *part) published->contributors[contribution.site] = contribution.round;
      if (const Status put = journal_.PutChunk(Sha256(sum), sum); !put.ok()) published = put;
    }
    FEDALT_CHECK(core_->Finish(round, published).ok() || disk_fails, "a good disk takes the result");
    CheckTold();
  }

  void CheckRounds() {
    int64_t expected = 1;
    for (const auto& [round, received] : journal_.received_in) {
      FEDALT_CHECK(round == expected++, "rounds are closed one after the other");
      FEDALT_CHECK(static_cast<int64_t>(received.size()) >= kMinimum, "no round is closed below the floor");
      for (const auto& [site, contribution] : received)
        FEDALT_CHECK(contribution.round == round && journal_.published.at(round).contributors.at(site) == round,
                     "all received counts");
    }
  }

  Script& script_;
  int64_t values_;
  testing::MemoryJournal journal_;
  SettableClock clock_;
  std::unique_ptr<ServerCore> core_;
  std::optional<ClosingRound> closing_;
  std::string challenge_;  ///< the last that the server asked for
  int64_t failing_ = 0;    ///< writes to come
};

}  // namespace
}  // namespace fuzz
}  // namespace fedalt

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fedalt::fuzz::Script script(data, size);
  const int64_t values = script.Byte() == 2 ? fedalt::fuzz::kTwoPieces : fedalt::fuzz::kSmall;
  fedalt::fuzz::Server(script, values).Run();
  return 0;
}
