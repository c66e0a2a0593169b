// A whole federation in one thread at a time: the server's and the sites' own state machines on a clock, a network and a disk that
// are made up, with faults that a seed decides. The same seed gives the same run, step by step.
//
// Sites run in threads of their own, but only whoever holds the turn runs; everybody else waits for a moment of the made-up clock.
// So a site's code blocks as it does in production, and a crash is an error that unwinds it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/random.h"
#include "net/dispatch.h"
#include "net/memory_journal.h"
#include "net/site_session.h"

namespace fedalt::testing {

struct SimulationOptions {
  uint64_t seed = 0;
  int64_t sites = 3, rounds = 3, minimum_cohort = 2;
  double lost = 0.1;          ///< of requests, and of answers
  double doubled = 0.1;       ///< of requests: the copy comes soon, or rounds later
  double flipped = 0.02;      ///< of pieces that the server sends: one bit
  double server_dies = 0.02;  ///< at each of its writes to the disk, before or after it
  double site_dies = 0.01;    ///< at each of its calls
  double state_lost = 0.2;    ///< of a site, at its death
  double paused = 0.0001;     ///< by an operator, at each step of the server
  double partition = 0.0005;  ///< at each call: a site is cut off for a while
  double disk_full = 0.002;   ///< at each write: nothing can be written for a while
  double aggregation = 0.5;   ///< how long it takes at most, in deadlines of an attempt
  double clock_set = 0.0001;  ///< at each step of the server: its wall clock is set, by two days at most
  double damaged = 0.00005;   ///< at each step of the server: one bit of one chunk on its disk
  double thief = 0.02;        ///< at each call: somebody else enrols with the site's keys and no state
  bool attacker = false;      ///< one more member does what it likes, at some steps of the server
  int64_t attempts = 50;      ///< of a round, before the run pauses by itself
  Planted planted = Planted::kNone;
};

/// What is wrong; empty: nothing.
struct SimulationResult {
  std::string violation;
  std::string cause;  ///< of the end
  int64_t closed_rounds = 0;
  int64_t server_deaths = 0, site_deaths = 0, lost = 0, doubled = 0, abandoned = 0, late = 0, anew = 0, pauses = 0, disk_full = 0;
  int64_t clock_sets = 0, damaged = 0, thieves = 0, attacks = 0, left_out = 0;
  std::string trace;  ///< a hash over all that happened, in order
};

class Simulation {
 public:
  explicit Simulation(const SimulationOptions& options);
  ~Simulation();
  SimulationResult Run();

 private:
  friend class SimulatedClock;
  friend class SimulatedConnection;
  static constexpr int kServer = -1;
  /// A site's disk: what survives its death.
  struct SiteDisk {
    int64_t trained_round = 0, closed_round = 0, lives = 0;
    MemoryRecord record;
    at::Tensor adapter;  ///< its own; training alone moves it
    std::map<int64_t, Published> read;
  };

  struct LateCopy {
    int64_t at_ms = 0, site = 0;
    Rpc rpc = Rpc::kPoll;
    std::string request;
  };

  double Draw() {
    if (draws_ == kStormDraws) Calm();
    return random_.Uniform(draws_++);
  }
  /// From here on nothing fails any more, and the run must end.
  void Calm();
  int64_t Delay() { return 1 + static_cast<int64_t>(Draw() * 2000.0); }
  void Note(const std::string& what);
  void Violate(const std::string& what);

  // The turn.
  void WaitUntil(int64_t actor, int64_t ms);
  void RunSite(int64_t site);
  Status SiteLife(int64_t site);
  StatusOr<std::string> Deliver(int64_t site, Rpc rpc, const std::string& request);
  void StartServer();
  void ServerStep();
  void Aggregated();
  void DeliverLate();
  void Attack();
  void Steal(int64_t site);
  void DamageSomething();
  void CheckBudgets();
  std::vector<std::string> Names() const;
  void Train(SiteDisk& disk, int64_t site, int64_t round);
  void CheckAdapter(const SiteDisk& disk, int64_t site);
  void CheckAcknowledged(int64_t site, const v1::UploadManifest& manifest);
  void CheckPublished(const PublishedObject& published);
  void CheckRead(int64_t site, const Published& published);
  void CheckEnd();

  SimulationOptions options_;
  RandomStream random_;
  static constexpr uint64_t kStormDraws = 60'000;
  uint64_t draws_ = 0;
  int64_t now_ms_ = 1'000'000;
  int64_t set_by_ms_ = 0;  ///< how far the wall clock is off
  bool restore_ = false;
  std::string challenge_;  ///< the attacker's
  std::string overheard_;  ///< the last chunk's call of another site
  MemoryJournal journal_;
  std::unique_ptr<Clock> clock_;
  std::unique_ptr<ServerCore> core_;
  bool server_dead_ = false;
  int64_t server_back_ms_ = 0;
  std::optional<ClosingRound> closing_;  ///< being aggregated, until
  int64_t closed_ms_ = 0;
  int64_t disk_full_until_ms_ = 0;
  std::vector<LateCopy> late_copies_;
  std::map<int64_t, int64_t> cut_off_until_;
  std::map<int64_t, SiteDisk> disks_;
  std::map<std::pair<int64_t, int64_t>, std::vector<int64_t>> acknowledged_;  ///< (site, round): attempts
  SimulationResult result_;

  std::mutex mutex_;
  std::map<int64_t, std::condition_variable> turn_;  ///< by actor
  std::map<int64_t, int64_t> wake_ms_;               ///< when each actor wants its turn
  int64_t running_ = kServer;
  std::vector<std::thread> threads_;
};

}  // namespace fedalt::testing
