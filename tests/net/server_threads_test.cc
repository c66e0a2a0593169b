// A server's state machine from many threads at once, as gRPC calls it: for the thread sanitizer, and to see that no interleaving
// changes what counts.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "net/dispatch.h"
#include "net/memory_journal.h"
#include "net/site_session.h"

namespace fedalt {
namespace {

constexpr int64_t kSites = 4, kRounds = 3, kValues = kChunkBytes / 4 + 2;  // two pieces
constexpr char kAgreement[] = "all agree\n";

/// Time stands still but for those who wait.
class SharedClock : public Clock {
 public:
  int64_t NowMs() const override { return now_ms_; }
  int64_t MonotonicMs() const override { return NowMs(); }
  Status Sleep(int64_t) override {
    ++now_ms_;
    std::this_thread::yield();
    return absl::OkStatus();
  }

 private:
  std::atomic<int64_t> now_ms_ = 1000;
};

class YieldingConnection : public ServerConnection {
 public:
  YieldingConnection(ServerCore& core, int64_t site) : core_(core), site_(site) {}
  StatusOr<std::string> Call(Rpc rpc, const std::string& request, int64_t) override {
    std::this_thread::yield();
    return testing::Dispatch(core_, site_, rpc, request);
  }

 private:
  ServerCore& core_;
  int64_t site_;
};

/// Whole numbers, so that a sum of them is exact.
at::Tensor ContributionOf(int64_t site, int64_t round) {
  return at::full({kValues}, static_cast<float>(site + 1 + 10 * round));
}

ServerOptions Options() {
  ServerOptions options;
  options.run = "r";
  options.agreement = kAgreement;
  for (int64_t k = 0; k < kSites; ++k) options.sites.push_back(absl::StrCat("site-", k));
  for (int64_t round = 1; round <= kRounds; ++round) options.exchange_rounds.push_back(round);
  options.values = kValues;
  options.minimum_cohort = kSites;
  return options;
}

TEST(ServerThreads, NoInterleavingChangesWhatCounts) {
  testing::MemoryJournal journal;
  SharedClock clock;
  ServerCore core(Options(), journal, clock);
  std::atomic<int64_t> changes = 0;
  core.OnChange([&] {
    ++changes;
    (void)core.state();  // it is called outside of the lock
  });
  ASSERT_TRUE(core.Recover().ok());
  std::atomic<bool> over = false;
  std::vector<std::thread> threads, others;
  std::vector<Status> ends(kSites);
  std::vector<std::vector<Published>> read(kSites);
  for (int64_t k = 0; k < kSites; ++k)
    threads.emplace_back([&, k] {
      YieldingConnection connection(core, k);
      SiteSessionOptions options;
      options.agreement = kAgreement;
      options.train_examples = 5;
      options.sites = Options().sites;
      options.site = options.sites[static_cast<size_t>(k)];
      SiteSession session(options, connection, clock, nullptr);
      ends[static_cast<size_t>(k)] = session.Enrol(false);
      for (int64_t round = 1; round <= kRounds && ends[static_cast<size_t>(k)].ok(); ++round) {
        ends[static_cast<size_t>(k)] = session.Send({round, k, 1.0, ContributionOf(k, round)});
        const auto published = session.CloseRound(round);
        if (published.ok()) read[static_cast<size_t>(k)].push_back(*published);
      }
    });
  // Two who look on, and one whose calls are refused.
  for (int i = 0; i < 2; ++i)
    others.emplace_back([&] {
      while (!over) {
        const v1::RunState state = core.state();
        EXPECT_LE(state.closed_round(), kRounds);
        (void)core.everybody_has_read();
        std::this_thread::yield();
      }
    });
  others.emplace_back([&] {
    for (int64_t i = 0; !over; ++i) {
      v1::UploadManifest manifest;
      manifest.set_run("r");
      manifest.set_round(kRounds + 1);
      EXPECT_FALSE(core.BeginUpload(i % kSites, manifest).ok());
      EXPECT_FALSE(core.CommitUpload(i % kSites, manifest).ok());
      v1::Chunk chunk;
      chunk.set_run("r");
      chunk.set_content("x");
      EXPECT_FALSE(core.PutChunk(i % kSites, chunk).ok());
      v1::ManifestRequest request;
      request.set_run("r");
      request.set_round(1 + i % kRounds);
      (void)core.GetManifest(i % kSites, request);
      std::this_thread::yield();
    }
  });
  const auto method = MakeMethod({});
  while (core.state().phase() != v1::PHASE_ENDED) {
    const auto closing = core.Tick();
    ASSERT_TRUE(closing.ok());
    if (*closing) {
      const auto published =
          Aggregate(**closing, {method->get(), {{}, 1, UploadFormat::kFloat32}, kValues, Options().sites}, journal);
      ASSERT_TRUE(core.Finish(**closing, published).ok());
    }
    std::this_thread::yield();
  }
  for (std::thread& thread : threads) thread.join();
  over = true;
  for (std::thread& thread : others) thread.join();

  EXPECT_GE(changes, kRounds);
  EXPECT_TRUE(core.everybody_has_read());
  EXPECT_EQ(core.state().closed_round(), kRounds);
  EXPECT_EQ(journal.saved_twice, 0);
  EXPECT_TRUE(journal.abandoned.empty());
  for (int64_t round = 1; round <= kRounds; ++round) {
    EXPECT_EQ(journal.published.at(round).contributors.size(), static_cast<size_t>(kSites));
    at::Tensor sum = at::zeros({kValues});
    for (int64_t k = 0; k < kSites; ++k) sum.add_(ContributionOf(k, round));
    for (int64_t k = 0; k < kSites; ++k) {
      ASSERT_TRUE(ends[static_cast<size_t>(k)].ok()) << ends[static_cast<size_t>(k)];
      ASSERT_EQ(read[static_cast<size_t>(k)].size(), static_cast<size_t>(kRounds));
      const Published& published = read[static_cast<size_t>(k)][static_cast<size_t>(round - 1)];
      EXPECT_TRUE(published.values.equal(sum));
      EXPECT_EQ(published.own_round, round);
    }
  }
}

}  // namespace
}  // namespace fedalt
