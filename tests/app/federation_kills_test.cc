// label: slow
// A server and three sites as real processes, killed with kill -9 several times per run: a seed decides which of them dies at which
// of its messages. FEDALT_KILL_RUNS=100 for more runs, FEDALT_KILL_SEED=17 to begin with that one.
#include <atomic>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <mutex>
#include <thread>

#include "app/federation_processes.h"
#include "base/random.h"

namespace fedalt {
namespace {

using testing::FedaltInStep;

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoll(text);
}

class FederationKills : public testing::FederationProcesses {
 protected:
  static constexpr size_t kSites = 3, kServer = kSites;
  FederationKills() : FederationProcesses(kSites) {}

  /// One run with its kills, to its end.
  class Run {
   public:
    Run(const FederationKills& test, uint64_t seed) : test_(test), out_("kills-" + std::to_string(seed)) {
      const RandomStream draws(seed, RandomPurpose::kSampling, {seed});
      const uint64_t kills = 3 + draws.Below(0, 4);
      constexpr uint64_t kSiteMessages = 9, kServerMessages = 14;  // about as many as they say in a run
      for (uint64_t i = 1; i <= kills; ++i) {
        const size_t party = draws.Below(2 * i, kSites + 1);
        planned_[party].push_back(1 + static_cast<int>(draws.Below(2 * i + 1, party == kServer ? kServerMessages : kSiteMessages)));
      }
    }
    /// How many processes were killed.
    int ToTheEnd() {
      std::vector<std::thread> sites;
      std::thread server([this] { LiveAsServer(); });
      for (size_t k = 0; k < kSites; ++k) sites.emplace_back([this, k] { LiveAsSite(k); });
      for (std::thread& site : sites) site.join();
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        sites_done_ = true;
        if (server_ != nullptr) server_->Signal(SIGTERM);  // it may wait for readers that have read before it was killed
      }
      server.join();
      return kills_;
    }
    const std::string& out() const { return out_; }

   private:
    /// Reads the messages of a process up to the one at which it is killed; without one, to its end. True: it was killed there.
    bool KilledInTime(size_t party, FedaltInStep& process) {
      std::deque<int>& planned = planned_[party];
      const int last = planned.empty() ? 0 : planned.front();
      for (int messages = 0; process.ReadMessage();) {
        if (++messages != last) continue;
        planned.pop_front();
        process.Signal(SIGKILL);
        return true;
      }
      return false;
    }
    void LiveAsSite(size_t k) {
      for (;;) {
        const auto process = test_.StartSite(out_, test_.sites_[k]);
        const bool signalled = KilledInTime(k, *process);
        const int status = process->Wait();
        if (signalled && WIFSIGNALED(status)) {
          ++kills_;
          continue;
        }
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << out_ << ": " << process->messages();
        return;
      }
    }
    void LiveAsServer() {
      for (;;) {
        std::unique_ptr<FedaltInStep> process;
        {
          const std::lock_guard<std::mutex> lock(mutex_);
          if (sites_done_) return;
          process = std::make_unique<FedaltInStep>(
              test_.folder(), std::vector<std::string>{"server", test_.WriteServer(out_, testing::ServerYaml())});
          server_ = process.get();
        }
        const bool signalled = KilledInTime(kServer, *process);
        const std::lock_guard<std::mutex> lock(mutex_);
        server_ = nullptr;
        const int status = process->Wait();
        if (signalled && WIFSIGNALED(status)) {
          ++kills_;
          continue;
        }
        // Stopped when the sites were done, perhaps before it had begun.
        constexpr int kStopped = 130;
        if (sites_done_ &&
            ((WIFEXITED(status) && WEXITSTATUS(status) == kStopped) || (WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM)))
          return;
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << out_ << ": " << process->messages();
        // All have been sent the last result, but a site that was killed before it had saved it asks once more: again.
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return;
      }
    }

    const FederationKills& test_;
    const std::string out_;
    std::array<std::deque<int>, kSites + 1> planned_;  // of each process: the messages of its lives
    std::atomic<int> kills_ = 0;
    std::mutex mutex_;  // what follows
    FedaltInStep* server_ = nullptr;
    bool sites_done_ = false;
  };
};

TEST_F(FederationKills, NoContributionIsLostOrDoubledAndTheEndIsThatOfTheUndisturbedRun) {
  const int64_t first = FromEnvironment("FEDALT_KILL_SEED", 0), runs = FromEnvironment("FEDALT_KILL_RUNS", 6);
  int kills = 0;
  for (int64_t seed = first; seed < first + runs; ++seed) {
    SCOPED_TRACE("FEDALT_KILL_SEED=" + std::to_string(seed));
    Run run(*this, static_cast<uint64_t>(seed));
    const int of_this = run.ToTheEnd();
    kills += of_this;
    ExpectAllCountedOnce(run.out());
    ASSERT_FALSE(HasFailure()) << "at FEDALT_KILL_SEED=" << seed;
    std::cout << "seed " << seed << ": " << of_this << " kills" << std::endl;
    std::filesystem::remove_all(folder().path() / run.out());
  }
  EXPECT_GE(kills, runs) << "hardly anything was killed";
  std::cout << runs << " runs, " << kills << " kills\n";
}

}  // namespace
}  // namespace fedalt
