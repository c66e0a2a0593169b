// links: base proto deps_torch
// sources: src/net/site_session.cc src/net/server_core.cc src/net/server_records.cc src/net/server_rounds.cc
// sources: src/net/server_uploads.cc src/net/callers.cc src/net/site_witness.cc
// sources: src/fed/chunks.cc src/fed/cohort.cc src/fed/upload_format.cc src/fed/round_record.cc
// sources: src/fed/closing_record.cc src/fed/waiting.cc
//
// A site's session against a server that answers with any bytes, spoilt answers, errors, or rightly, on a clock that is made up: it
// comes to an end, says why, and returns only values that have the hashes that it was told.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

#include "base/check.h"
#include "fuzz/everybody.h"
#include "fuzz/script.h"
#include "net/dispatch.h"
#include "net/memory_journal.h"
#include "net/site_session.h"

namespace fedalt {

namespace fuzz {
namespace {

constexpr int64_t kRounds = 2, kValues = 3, kPatienceMs = 600'000;
constexpr int kMostCalls = 100'000;
constexpr char kAgreement[] = "all agree\n";

class InstantClock : public Clock {
 public:
  int64_t now_ms = 1;
  int64_t NowMs() const override { return now_ms; }
  int64_t MonotonicMs() const override { return NowMs(); }
  Status Sleep(int64_t ms) override {
    FEDALT_CHECK(ms >= 0, "time does not go back");
    now_ms += ms;
    return absl::OkStatus();
  }
};

/// A real server of one site, whose answers the script spoils. Behind the script's end there is no answer.
class SpoiltConnection : public ServerConnection {
 public:
  SpoiltConnection(Script& script, InstantClock& clock) : script_(script), clock_(clock), core_(Options(), journal_, clock) {
    FEDALT_CHECK(core_.Recover().ok(), "a good disk recovers");
  }

  StatusOr<std::string> Call(Rpc rpc, const std::string& request, int64_t timeout_ms) override {
    FEDALT_CHECK(++calls_ < kMostCalls, "it comes to an end");
    clock_.now_ms += rpc == Rpc::kPoll ? 1000 : 10;
    if (script_.done()) return absl::UnavailableError("connection refused");
    StatusOr<std::string> answer = Spoilt(rpc, request, timeout_ms);
    if (rpc == Rpc::kGetManifest && answer.ok()) (void)manifest_.ParseFromString(*answer);
    return answer;
  }

  const v1::PublishedManifest& manifest() const { return manifest_; }  ///< the last that the site was told

 private:
  static ServerOptions Options() {
    ServerOptions options;
    options.run = "r";
    options.agreement = kAgreement;
    options.sites = {"osaka"};
    for (int64_t round = 1; round <= kRounds; ++round) options.exchange_rounds.push_back(round);
    options.values = kValues;
    return options;
  }

  StatusOr<std::string> Spoilt(Rpc rpc, const std::string& request, int64_t timeout_ms) {
    switch (script_.Below(8)) {
      case 0:
      case 1:
        return Right(rpc, request);
      case 2: {
        const StatusOr<std::string> answer = Right(rpc, request);
        return answer.ok() ? script_.Mutated(*answer) : answer;
      }
      case 3:
        return script_.Bytes();
      case 4:
        return Error();
      case 5:
        (void)Right(rpc, request);
        clock_.now_ms += timeout_ms;
        return absl::DeadlineExceededError("lost on the way back");
      default:
        return Made(rpc);
    }
  }

  Status Error() {
    const auto code = static_cast<absl::StatusCode>(1 + script_.Below(16));
    return {code, script_.Bytes()};
  }

  StatusOr<std::string> Right(Rpc rpc, const std::string& request) {
    const StatusOr<std::string> answer = testing::Dispatch(core_, 0, rpc, request);
    const auto closing = core_.Tick();
    FEDALT_CHECK(closing.ok(), "a good disk lets it go on");
    if (*closing) {  // what one site sent is the sum
      const ChunkList& chunks = (**closing).received.front().chunks;
      PublishedObject published{(**closing).round, 1.0, chunks, {}, {{0, (**closing).round}}};
      FEDALT_CHECK(core_.Finish(**closing, published).ok(), "a good disk takes the result");
    }
    return answer;
  }

  v1::RunState AnyState() {
    v1::RunState state;
    state.set_version(static_cast<int64_t>(script_.Byte()));
    state.set_phase(static_cast<v1::Phase>(script_.Below(5)));
    state.set_round(static_cast<int64_t>(script_.Below(4)) - 1);
    state.set_attempt(static_cast<int64_t>(script_.Below(3)));
    state.set_closed_round(static_cast<int64_t>(script_.Below(4)) - 1);
    return state;
  }

  RoundRecord AnyRecord() {
    RoundRecord record;
    record.run = "r";
    record.round = static_cast<int64_t>(script_.Below(5));
    record.previous_round = static_cast<int64_t>(script_.Below(4));
    const uint64_t weight = script_.Long();
    std::memcpy(&record.total_weight, &weight, sizeof(weight));
    record.log.size = script_.Long();
    const std::string content = HexOf(Sha256(script_.Bytes()));
    record.contents.push_back({script_.Below(2) == 0 ? "" : "osaka", content});
    record.contributors.push_back({"osaka", static_cast<int64_t>(script_.Long()), 1.0, content});
    return record;
  }

  /// An answer of the right kind that no server would give.
  std::string Made(Rpc rpc) {
    switch (rpc) {
      case Rpc::kEnrol: {
        v1::EnrolReply reply;
        reply.set_run("r");
        reply.set_protocol(script_.Byte());
        *reply.mutable_state() = AnyState();
        return reply.SerializeAsString();
      }
      case Rpc::kPoll:
        return AnyState().SerializeAsString();
      case Rpc::kBeginUpload: {
        v1::MissingChunks reply;
        const size_t count = script_.Below(4);
        for (size_t i = 0; i < count; ++i) reply.add_chunks(static_cast<int64_t>(script_.Long()));
        return reply.SerializeAsString();
      }
      case Rpc::kPutChunk:
        return v1::PutChunkReply().SerializeAsString();
      case Rpc::kCommitUpload:
        return v1::CommitReply().SerializeAsString();
      case Rpc::kGetManifest: {
        v1::PublishedManifest reply;
        reply.set_values(static_cast<int64_t>(script_.Long()));
        const size_t count = script_.Below(4);
        for (size_t i = 0; i < count; ++i) reply.add_chunks(script_.Bytes());
        const std::string record = EncodeRecord(AnyRecord());
        reply.set_record(script_.Below(4) == 0 ? script_.Mutated(record) : record);
        reply.set_signature(testing::ToySignatures(Signatures::kServer).sign(reply.record()));
        if (script_.Below(2) == 0) reply.add_adoptions()->set_signature(script_.Bytes());
        return reply.SerializeAsString();
      }
      case Rpc::kGetChunk: {
        v1::Chunk reply;
        reply.set_content(script_.Bytes());
        return reply.SerializeAsString();
      }
      case Rpc::kCountersign:
      case Rpc::kReport:
      case Rpc::kLeave:
        return {};
    }
    return {};
  }

  Script& script_;
  InstantClock& clock_;
  testing::MemoryJournal journal_;
  ServerCore core_;
  v1::PublishedManifest manifest_;
  int calls_ = 0;
};

void CheckFailure(const Status& status) {
  const ErrorKind kind = KindOf(status);
  FEDALT_CHECK(kind == ErrorKind::kFederation || kind == ErrorKind::kNotNow || kind == ErrorKind::kIntegrity ||
                   kind == ErrorKind::kInterrupted,
               "an error of the kinds that a session has");
  FEDALT_CHECK(!status.message().empty(), "it says why");
}

void CheckPublished(const Published& published, const v1::PublishedManifest& manifest, int64_t round) {
  const auto record = ParseRecord(manifest.record());
  FEDALT_CHECK(record.ok() && published.round == round && record->round == round, "it is of the round that was asked for");
  FEDALT_CHECK(record->ContentFor("osaka")->content == ContentHash(ChunksOf(published.values)), "it is what the record says");
  const ChunkList chunks = ChunksOf(published.values);
  FEDALT_CHECK(chunks.values == manifest.values() && static_cast<int>(chunks.digests.size()) == manifest.chunks_size(), "its size");
  for (size_t i = 0; i < chunks.digests.size(); ++i)
    FEDALT_CHECK(std::string(chunks.digests[i].begin(), chunks.digests[i].end()) == manifest.chunks(static_cast<int>(i)),
                 "its hashes");
  FEDALT_CHECK(published.total_weight > 0.0 && published.total_weight < std::numeric_limits<double>::infinity(), "its weight");
  FEDALT_CHECK(published.contributors > 0, "somebody is in it");
  FEDALT_CHECK(published.own_round && *published.own_round >= 0 && *published.own_round <= round, "the round of one's own");
}

/// What a site does, round by round, to its first error.
void RunSite(SiteSession& session, SpoiltConnection& connection) {
  if (const Status enrolled = session.Enrol(true); !enrolled.ok()) return CheckFailure(enrolled);
  if (const auto joined = session.JoinsAfter(); !joined.ok()) return CheckFailure(joined.status());
  for (int64_t round = 1; round <= kRounds; ++round) {
    at::Tensor values = at::zeros({kValues});
    values.data_ptr<float>()[0] = static_cast<float>(round);
    if (const Status sent = session.Send({round, 0, 1.0, values}); !sent.ok()) return CheckFailure(sent);
    const StatusOr<Published> published = session.CloseRound(round);
    if (!published.ok()) return CheckFailure(published.status());
    CheckPublished(*published, connection.manifest(), round);
    if (const Status noted = session.NoteReading(round, ""); !noted.ok()) return CheckFailure(noted);
    session.Report(round, {{"loss", 1.0}});
  }
}

}  // namespace
}  // namespace fuzz
}  // namespace fedalt

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fedalt::fuzz::Script script(data, size);
  fedalt::fuzz::InstantClock clock;
  fedalt::fuzz::SpoiltConnection connection(script, clock);
  fedalt::testing::MemoryRecord record;
  fedalt::SiteSessionOptions options;
  options.agreement = fedalt::fuzz::kAgreement;
  options.train_examples = 5;
  options.patience_ms = fedalt::fuzz::kPatienceMs;
  options.reports = true;
  options.site = "osaka";
  options.sites = {"osaka"};
  options.record = &record;
  if (script.Below(2) == 0) options.signatures = fedalt::testing::ToySignatures(0);
  fedalt::SiteSession session(options, connection, clock, [](const std::string&) {});
  fedalt::fuzz::RunSite(session, connection);
  return 0;
}
