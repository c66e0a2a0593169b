// A server's directory for tests, and a run that was recorded in it as a server would.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "fed/server_round.h"
#include "store/raw_database.h"
#include "store/server_store.h"
#include "store/signed_log.h"

namespace fedalt::testing {

inline constexpr int64_t kBegin = 1'700'000'000'000;

inline std::unique_ptr<ServerStore> OpenServer(const std::filesystem::path& directory) {
  auto store = ServerStore::Open(directory, {"run-7",
                                             {"graz", "lyon", "osaka"},
                                             [time = kBegin]() mutable { return time += 1000; },
                                             [](std::string_view message) { return ToySignature("server", message); },
                                             60'000});
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? std::move(*store) : nullptr;
}

/// A tensor of three values in one piece, whose bytes are all `fill`; it is on the disk afterwards.
inline ChunkList PutTensor(ServerStore& store, char fill) {
  const std::string bytes(3 * sizeof(float), fill);
  const ChunkList chunks{3, {Sha256(bytes)}};
  EXPECT_TRUE(store.PutChunk(chunks.digests.front(), bytes).ok());
  return chunks;
}
inline bool HasTensor(ServerStore& store, char fill) {
  return store.HasChunk(Sha256(std::string(3 * sizeof(float), fill)));
}

inline void Contribute(ServerStore& store, int64_t site, int64_t round, int64_t attempt, char fill) {
  const Status saved = store.SaveContribution({site, round, attempt, 1.0 + static_cast<double>(site), PutTensor(store, fill)});
  EXPECT_TRUE(saved.ok()) << saved;
}

/// Closes the round with these contributions: site, round and letter of each.
inline void Close(ServerStore& store, const PublishedObject& published, const std::vector<std::tuple<int64_t, int64_t, char>>& of) {
  ClosingRound closing;
  for (const auto& [site, round, fill] : of)
    closing.received.push_back({site, round, 1, 1.0 + static_cast<double>(site), PutTensor(store, fill)});
  const Status closed = store.CloseRound(published, RecordOf(closing, published, "run-7", {"graz", "lyon", "osaka"}));
  EXPECT_TRUE(closed.ok()) << closed;
}

/// Enrolment of graz, lyon and osaka. Round 1 is abandoned once, then closed with all; round 2 with graz and lyon, osaka's
/// contribution stays; then osaka leaves. Round 3 is open and has lyon's contribution; the run was paused and goes on. Tensors:
/// letters in the order in which they came, S of round 1 is 'S', of round 2 'T'.
inline void RecordRun(const std::filesystem::path& directory) {
  const auto store = OpenServer(directory);
  ASSERT_NE(store, nullptr);
  const auto ok = [](const Status& status) { EXPECT_TRUE(status.ok()) << status; };
  ok(store->SaveAgreement("federation f\nsite graz\nparticipation: 1.0\nseed: 0\n"));
  ok(store->SaveStart({"first", "fedalt 0", "digest one", {}}).status());
  for (int64_t site = 0; site < 3; ++site) ok(store->SaveEnrolment(site, 100 + site, site == 1 ? "token" : ""));
  ok(store->OpenAttempt(1, 1, kBegin, {0, 1, 2}));
  Contribute(*store, 0, 1, 1, 'a');
  ok(store->AbandonAttempt(1, 1, "only one came"));
  ok(store->OpenAttempt(1, 2, kBegin + 10'000, {0, 1, 2}));
  Contribute(*store, 0, 1, 2, 'b');
  Contribute(*store, 1, 1, 2, 'c');
  Contribute(*store, 2, 1, 2, 'd');
  PublishedObject published;
  published.round = 1;
  published.total_weight = 6.0;
  published.chunks = PutTensor(*store, 'S');
  published.contributors = {{0, 1}, {1, 1}, {2, 1}};
  published.weights = {{0, 1.0}, {1, 2.0}, {2, 3.0}};
  published.moved = {{0, 0.25}, {1, 0.5}, {2, 0.25}};
  Close(*store, published, {{0, 1, 'b'}, {1, 1, 'c'}, {2, 1, 'd'}});
  const auto record = store->RecordOf(1);
  ASSERT_TRUE(record.ok()) << record.status();
  ok(store->SaveAdoption(2, 1, ToySignature("osaka", AdoptionMessage(RecordDigest(record->bytes))), ""));
  ok(store->SaveAdoption(1, 1, "", "pinned to round 0"));
  ok(store->SaveMetrics(0, 1, {{"loss", 0.5}, {"time_s", 2.0}}));
  ok(store->SaveMetrics(0, 1, {{"loss", 0.25}}));
  ok(store->OpenAttempt(2, 1, kBegin + 20'000, {0, 1, 2}));
  Contribute(*store, 0, 2, 1, 'e');
  Contribute(*store, 1, 2, 1, 'f');
  published.round = 2;
  published.chunks = PutTensor(*store, 'T');
  published.contributors = {{0, 2}, {1, 2}, {2, 1}};
  published.weights = {{0, 1.0}, {1, 2.0}, {2, 3.0}};
  published.moved = {{0, 0.5}, {1, 1.5}, {2, 0.0}};
  Close(*store, published, {{0, 2, 'e'}, {1, 2, 'f'}, {2, 1, 'd'}});
  ok(store->SaveDeparture(2, "the site leaves"));
  ok(store->OpenAttempt(3, 1, kBegin + 30'000, {0, 1, 2}));
  Contribute(*store, 1, 3, 1, 'g');
  {
    const auto database = OpenStore(directory / kStoreName);
    ok(AskOperator(*database, {0, OperatorRequest::Kind::kPause, "", "lunch"}, kBegin).status());
  }
  ok(store->SavePause("lunch", /*for_sites=*/false));
  ok(store->FinishRequest(1, "done"));
  ok(store->SaveResume(kBegin + 40'000));
  ok(store->SaveStart({"second", "fedalt 1", "digest two", {}}).status());
}

}  // namespace fedalt::testing
