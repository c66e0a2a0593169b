#include "net/simulation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "fed/server_round.h"
#include "net/messages.h"

namespace fedalt::testing {
namespace {

constexpr int64_t kValues = 3, kServerStepMs = 50, kDeadlineMs = 60'000, kEndOfTimeMs = 100'000'000;

/// What a site's training adds to its adapter in a round: whole numbers, so that every sum of them is exact.
at::Tensor StepOf(int64_t site, int64_t round) {
  return at::tensor({static_cast<float>(site + 1), static_cast<float>(100 * round), static_cast<float>(7 * site * round + 1)});
}

/// Of a site, which has as many training examples.
double WeightOf(int64_t site) {
  return static_cast<double>(site + 1);
}

/// What a site contributes in a round: its adapter, moved by its own training alone.
at::Tensor ContributionOf(int64_t site, int64_t round) {
  at::Tensor adapter = at::zeros({kValues});
  for (int64_t r = 1; r <= round; ++r) adapter.add_(StepOf(site, r));
  return adapter;
}

/// An attempt that was abandoned passes for the open one.
std::string OfOpenAttempt(const std::string& request, const ServerPosition& position) {
  v1::UploadManifest manifest;
  EXPECT_TRUE(manifest.ParseFromString(request));
  if (manifest.round() == position.closed_round + 1) manifest.set_attempt(position.attempt);
  return manifest.SerializeAsString();
}

}  // namespace

class SimulatedClock : public Clock {
 public:
  SimulatedClock(Simulation& simulation, int64_t actor) : simulation_(simulation), actor_(actor) {}
  int64_t NowMs() const override { return simulation_.now_ms_ + simulation_.set_by_ms_; }
  int64_t MonotonicMs() const override { return simulation_.now_ms_; }
  Status Sleep(int64_t ms) override {
    simulation_.WaitUntil(actor_, simulation_.now_ms_ + ms);
    return absl::OkStatus();
  }

 private:
  Simulation& simulation_;
  int64_t actor_;
};

/// Loses, delays, doubles and reorders, and brings the site's death.
class SimulatedConnection : public ServerConnection {
 public:
  SimulatedConnection(Simulation& simulation, int64_t site) : simulation_(simulation), site_(site) {}

  StatusOr<std::string> Call(Rpc rpc, const std::string& request, int64_t timeout_ms) override {
    Simulation& s = simulation_;
    if (s.Draw() < s.options_.site_dies) {
      ++s.result_.site_deaths;
      return InterruptedError("the site dies");
    }
    if (s.Draw() < s.options_.partition) s.cut_off_until_[site_] = s.now_ms_ + static_cast<int64_t>(s.Draw() * 3.0 * kDeadlineMs);
    const int64_t deadline = s.now_ms_ + timeout_ms;
    if (rpc == Rpc::kPoll) s.WaitUntil(site_, s.now_ms_ + 1000);  // no long polling here
    s.WaitUntil(site_, s.now_ms_ + s.Delay());
    if (s.now_ms_ < s.cut_off_until_[site_] || s.Draw() < s.options_.lost) {
      ++s.result_.lost;
      s.WaitUntil(site_, deadline);
      return absl::DeadlineExceededError("lost on the way there");
    }
    StatusOr<std::string> answer = s.Deliver(site_, rpc, request);
    if (s.Draw() < s.options_.doubled) {
      ++s.result_.doubled;
      if (s.Draw() < 0.5) {
        s.WaitUntil(site_, s.now_ms_ + s.Delay());
        (void)s.Deliver(site_, rpc, request);  // nobody hears the second answer
      } else {
        s.late_copies_.push_back({s.now_ms_ + static_cast<int64_t>(s.Draw() * 2.0 * kDeadlineMs), site_, rpc, request});
      }
    }
    s.WaitUntil(site_, s.now_ms_ + s.Delay());
    if (s.Draw() < s.options_.lost) {
      ++s.result_.lost;
      s.WaitUntil(site_, deadline);
      return absl::DeadlineExceededError("lost on the way back");
    }
    if (answer.ok() && rpc == Rpc::kGetChunk && s.Draw() < s.options_.flipped) {
      v1::Chunk chunk;
      EXPECT_TRUE(chunk.ParseFromString(*answer));
      (*chunk.mutable_content())[0] ^= 1;
      return chunk.SerializeAsString();
    }
    return answer;
  }

 private:
  Simulation& simulation_;
  int64_t site_;
};

Simulation::Simulation(const SimulationOptions& options)
    : options_(options), random_(options.seed, RandomPurpose::kSampling, {options.seed}) {
  clock_ = std::make_unique<SimulatedClock>(*this, kServer);
  journal_.planted = options.planted;
  journal_.names = Names();
  journal_.disk = [this] {
    if (Draw() < options_.disk_full) {
      ++result_.disk_full;
      disk_full_until_ms_ = now_ms_ + static_cast<int64_t>(Draw() * kDeadlineMs);
    }
    if (now_ms_ < disk_full_until_ms_) return MemoryJournal::Disk::kFailsBefore;
    if (Draw() >= options_.server_dies) return MemoryJournal::Disk::kGood;
    server_dead_ = true;
    return Draw() < 0.5 ? MemoryJournal::Disk::kFailsBefore : MemoryJournal::Disk::kFailsAfter;
  };
}

Simulation::~Simulation() = default;

void Simulation::Note(const std::string& what) {
  result_.trace = HexOf(Sha256(absl::StrCat(result_.trace, now_ms_, " ", what)));
}

void Simulation::Violate(const std::string& what) {
  if (result_.violation.empty()) result_.violation = absl::StrCat("at ", now_ms_, " ms: ", what);
}

/// Gives the turn to whoever wants it first, and waits for one's own moment.
void Simulation::WaitUntil(int64_t actor, int64_t ms) {
  std::unique_lock<std::mutex> lock(mutex_);
  wake_ms_[actor] = ms;
  const auto next =
      std::min_element(wake_ms_.begin(), wake_ms_.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  now_ms_ = std::max(now_ms_, next->second);
  running_ = next->first;
  if (running_ == actor) return;
  turn_[running_].notify_one();
  turn_[actor].wait(lock, [&] { return running_ == actor; });
}

void Simulation::StartServer() {
  ServerOptions options;
  options.run = "simulated";
  options.agreement = "all agree\n";
  options.sites = Names();
  for (int64_t round = 1; round <= options_.rounds; ++round) options.exchange_rounds.push_back(round);
  options.values = kValues;
  options.minimum_cohort = options_.planted == Planted::kBelowFloor ? 1 : options_.minimum_cohort;
  options.deadline_ms = kDeadlineMs;
  options.attempts = options_.attempts;
  options.weight = [](int64_t train_examples) { return static_cast<double>(train_examples); };
  options.silent_ms = kDeadlineMs / 2;
  options.warn = [this](const std::string& what) {
    if (what.find("from a backup") != std::string::npos) restore_ = true;  // its operator reads the log
  };
  options.instance = absl::StrCat("process ", journal_.starts);
  options.signatures = ToySignatures(Signatures::kServer);
  server_dead_ = false;
  core_ = std::make_unique<ServerCore>(options, journal_, *clock_);
  if (!core_->Recover().ok()) server_dead_ = true;
  Note("server starts");
}

/// What the server's loop does, with its death and return.
void Simulation::ServerStep() {
  DeliverLate();
  if (server_dead_ && core_) {
    core_.reset();
    closing_.reset();
    ++result_.server_deaths;
    server_back_ms_ = now_ms_ + Delay() * 5;
    Note("server dies");
  }
  if (!core_) {
    if (now_ms_ >= server_back_ms_) StartServer();
    return;
  }
  if (journal_.requests.empty() && Draw() < (journal_.position().paused ? 0.02 : options_.paused)) {
    const auto kind = journal_.position().paused ? OperatorRequest::Kind::kResume : OperatorRequest::Kind::kPause;
    journal_.requests.push_back({++result_.pauses, kind, "", "for a while"});
  }
  if (Draw() < options_.clock_set) {
    constexpr double kTwoDaysMs = 172'800'000.0;
    set_by_ms_ = static_cast<int64_t>((2.0 * Draw() - 1.0) * kTwoDaysMs);
    ++result_.clock_sets;
  }
  if (std::exchange(restore_, false)) journal_.Restore();
  if (Draw() < options_.damaged) DamageSomething();
  constexpr double kAttacks = 0.03;
  if (options_.attacker && draws_ < kStormDraws && Draw() < kAttacks) Attack();
  if (server_dead_) return;
  if (closing_ && now_ms_ >= closed_ms_) Aggregated();
  if (server_dead_) return;
  auto closing = core_->Tick();
  if (!closing.ok() && Draw() < 0.5) server_dead_ = true;  // as the program does; the other half sees whether the class could go on
  if (!closing.ok() || !*closing || server_dead_) return;
  if (closing_) Violate("a round is aggregated twice at once");
  closing_ = **std::move(closing);
  closed_ms_ = now_ms_ + static_cast<int64_t>(Draw() * options_.aggregation * kDeadlineMs);
}

void Simulation::Aggregated() {
  const ClosingRound closing = *std::exchange(closing_, std::nullopt);
  MethodOptions method_options;
  const auto method = MakeMethod(method_options);
  ClosingRound round = closing;
  if (options_.planted == Planted::kCountsTwice && !round.absent.empty()) round.received.front().weight *= 2.0;
  const auto published = Aggregate(round, {method->get(), {{}, 1, UploadFormat::kFloat32}, kValues, Names()}, journal_);
  if (server_dead_) return;
  if (!core_->Finish(closing, published).ok() && Draw() < 0.5) server_dead_ = true;
}

void Simulation::Calm() {
  for (double* const rate :
       {&options_.lost, &options_.doubled, &options_.flipped, &options_.server_dies, &options_.site_dies, &options_.state_lost,
        &options_.paused, &options_.partition, &options_.disk_full, &options_.clock_set, &options_.damaged, &options_.thief})
    *rate = 0.0;
}

std::vector<std::string> Simulation::Names() const {
  std::vector<std::string> names;
  for (int64_t k = 0; k < options_.sites + (options_.attacker ? 1 : 0); ++k) names.push_back(absl::StrCat("site-", k));
  return names;
}

/// A member that never sends anything valid to its end, and calls in any order.
void Simulation::Attack() {
  const int64_t attacker = options_.sites;
  ++result_.attacks;
  const auto call = [&](Rpc rpc, const google::protobuf::Message& request) {
    return Dispatch(*core_, attacker, rpc, request.SerializeAsString());
  };
  const at::Tensor values = at::full({kValues}, Draw() < 0.5 ? 1e30F : std::numeric_limits<float>::quiet_NaN());
  v1::UploadManifest manifest = ManifestOf(Draw() < 0.5 ? values : at::full({kValues}, static_cast<float>(Draw())),
                                           core_->state().round(), core_->state().attempt());
  manifest.set_run("simulated");
  v1::Chunk chunk = ChunkOfManifest(ManifestOf(values, manifest.round()), values, 0);
  chunk.set_run("simulated");
  constexpr int kKinds = 9;
  switch (static_cast<int>(Draw() * kKinds)) {
    case 0: {
      v1::EnrolRequest request = EnrolmentIn("all agree\n");
      request.set_anew(Draw() < 0.5);
      request.set_challenge(challenge_);
      const auto answer = call(Rpc::kEnrol, request);
      v1::EnrolReply reply;
      if (answer.ok() && reply.ParseFromString(*answer)) challenge_ = reply.challenge();
      break;
    }
    case 1:
      (void)call(Rpc::kBeginUpload, manifest);
      break;
    case 2:
      (void)call(Rpc::kPutChunk, chunk);
      break;
    case 3:
      (void)call(Rpc::kCommitUpload, manifest);
      break;
    case 4: {
      v1::ManifestRequest request;
      request.set_run("simulated");
      request.set_round(static_cast<int64_t>(Draw() * 3.0));
      (void)call(Rpc::kGetManifest, request);
      break;
    }
    case 5: {
      v1::Metrics request;
      request.set_run("simulated");
      request.set_round(static_cast<int64_t>(Draw() * 3.0));
      (*request.mutable_values())["loss"] = Draw();
      for (int i = 0; i < 20; ++i) (void)call(Rpc::kReport, request);
      break;
    }
    case 6: {
      v1::LeaveRequest request;
      request.set_run("simulated");
      const auto enrolment = journal_.position().enrolments.find(attacker);
      if (enrolment != journal_.position().enrolments.end()) request.set_enrolment(enrolment->second);
      (void)call(Rpc::kLeave, request);
      break;
    }
    case 7:
      for (int i = 0; i < 50; ++i) (void)call(Rpc::kBeginUpload, manifest);
      break;
    default:
      if (!overheard_.empty()) (void)Dispatch(*core_, attacker, Rpc::kPutChunk, overheard_);
  }
  CheckBudgets();
}

/// What one member can make the server keep has a bound.
void Simulation::CheckBudgets() {
  int64_t attempts = 1;
  for (const auto& [round, count] : journal_.abandoned_in) attempts += count;
  attempts += journal_.position().closed_round + 1 + journal_.starts;  // a restart forgets what was spent
  const auto members = static_cast<int64_t>(Names().size());
  if (static_cast<int64_t>(journal_.refusals.size()) > members * attempts * (budget::kRefusalsPerAttempt + 1))
    Violate("refusals fill the log");
  if (journal_.reports > members * attempts * budget::kReportsPerAttempt) Violate("reports fill the database");
  // Of each member what counts, what is received, and what is begun; what was published; what a restart left behind.
  const int64_t most =
      (3 * members + journal_.position().closed_round + 1 + 2 * journal_.starts) * kValues * static_cast<int64_t>(sizeof(float));
  if (journal_.stored() > most) Violate(absl::StrCat(journal_.stored(), " bytes of chunks on the disk, more than ", most));
}

/// Somebody starts a second process with the keys of a site that was heard a moment ago.
void Simulation::Steal(int64_t site) {
  const ServerPosition& position = journal_.position();
  if (!position.ledger.contains(site) && !position.received.contains(site)) return;  // it has nothing to lose
  ++result_.thieves;
  const size_t departed = journal_.departed.size();
  v1::EnrolRequest request = EnrolmentIn("all agree\n");
  request.set_train_examples(static_cast<int64_t>(WeightOf(site)));
  request.set_anew(true);
  request.set_process("a thief");
  for (int tries = 0; tries < 2 && core_ && !server_dead_; ++tries) {
    const auto answer = Dispatch(*core_, site, Rpc::kEnrol, request.SerializeAsString());
    v1::EnrolReply reply;
    if (answer.ok() && reply.ParseFromString(*answer)) request.set_challenge(reply.challenge());
  }
  if (journal_.departed.size() > departed) Violate(absl::StrCat("site ", site, " lost its place to another process"));
}

void Simulation::DamageSomething() {
  std::vector<Sha256Digest> digests;
  for (const auto* contributions : {&journal_.position().received, &journal_.position().ledger})
    for (const auto& [site, contribution] : *contributions)
      digests.insert(digests.end(), contribution.chunks.digests.begin(), contribution.chunks.digests.end());
  if (const auto last = journal_.published.find(journal_.position().closed_round); last != journal_.published.end())
    digests.insert(digests.end(), last->second.chunks.digests.begin(), last->second.chunks.digests.end());
  if (digests.empty()) return;
  ++result_.damaged;
  journal_.Damage(digests[static_cast<size_t>(Draw() * static_cast<double>(digests.size()))]);
}

/// Copies of messages that were under way for long.
void Simulation::DeliverLate() {
  for (size_t i = 0; i < late_copies_.size();) {
    if (now_ms_ < late_copies_[i].at_ms) {
      ++i;
      continue;
    }
    const LateCopy copy = std::move(late_copies_[i]);
    late_copies_.erase(late_copies_.begin() + static_cast<int64_t>(i));
    (void)Deliver(copy.site, copy.rpc, copy.request);
  }
}

StatusOr<std::string> Simulation::Deliver(int64_t site, Rpc rpc, const std::string& request) {
  if (!core_ || server_dead_) return absl::UnavailableError("connection refused");
  const size_t departed = journal_.departed.size();
  const bool renewed = options_.planted == Planted::kTakesOldAttempt && (rpc == Rpc::kBeginUpload || rpc == Rpc::kCommitUpload);
  StatusOr<std::string> answer = Dispatch(*core_, site, rpc, renewed ? OfOpenAttempt(request, journal_.position()) : request);
  if (journal_.departed.size() > departed)
    std::erase_if(acknowledged_, [&](const auto& entry) { return entry.first.first == site; });
  Note(absl::StrCat(site, " ", static_cast<int>(rpc), " ", answer.ok() ? *answer : answer.status().ToString()));
  if (rpc == Rpc::kPutChunk) overheard_ = request;
  if (answer.ok() && rpc != Rpc::kEnrol && rpc != Rpc::kLeave && Draw() < options_.thief) Steal(site);
  if (server_dead_) return absl::UnavailableError("connection lost");  // it died before it could answer
  if (rpc == Rpc::kCommitUpload && answer.ok()) {
    v1::UploadManifest manifest;
    EXPECT_TRUE(manifest.ParseFromString(request));
    acknowledged_[{site, manifest.round()}].push_back(manifest.attempt());
    CheckAcknowledged(site, manifest);
  }
  return answer;
}

/// What is acknowledged is recorded, as it was sent.
void Simulation::CheckAcknowledged(int64_t site, const v1::UploadManifest& manifest) {
  const auto received = journal_.position().received.find(site);
  if (received == journal_.position().received.end())
    return Violate(absl::StrCat("an upload of site ", site, " was acknowledged and is not recorded"));
  const SiteContribution& recorded = received->second;
  if (recorded.round != manifest.round() || recorded.attempt != manifest.attempt() || recorded.weight != WeightOf(site))
    Violate(absl::StrCat("an upload of site ", site, " for attempt ", manifest.attempt(), " counts in attempt ", recorded.attempt));
}

void Simulation::Train(SiteDisk& disk, int64_t site, int64_t round) {
  disk.adapter = (disk.adapter.defined() ? disk.adapter : at::zeros({kValues})) + StepOf(site, round);
  disk.trained_round = round;
}

/// A site's adapter moves only by its own training.
void Simulation::CheckAdapter(const SiteDisk& disk, int64_t site) {
  if (disk.trained_round > 0 && !disk.adapter.equal(ContributionOf(site, disk.trained_round)))
    Violate(absl::StrCat("the adapter of site ", site, " was moved by something else than its training"));
}

/// One life of a site: a round as fed/federation.cc makes it, without the training.
Status Simulation::SiteLife(int64_t site) {
  SimulatedClock clock(*this, site);
  SimulatedConnection connection(*this, site);
  SiteDisk& disk = disks_.at(site);
  SiteSessionOptions options;
  options.agreement = "all agree\n";
  options.train_examples = static_cast<int64_t>(WeightOf(site));
  options.patience_ms = kEndOfTimeMs;
  ++disk.lives;
  options.process = absl::StrCat("life ", disk.lives, " of site ", site);
  options.record = &disk.record;
  options.site = journal_.names.at(static_cast<size_t>(site));
  options.sites = journal_.names;
  options.signatures = ToySignatures(site);
  if (options_.planted == Planted::kForgetsRoundAfterRestart && disk.lives > 1 && disk.trained_round > disk.closed_round)
    disk.trained_round = disk.closed_round;
  SiteSession session(options, connection, clock, nullptr);
  const bool anew = disk.trained_round == 0;
  RETURN_IF_ERROR(session.Enrol(anew));
  ASSIGN_OR_RETURN(const int64_t joins_after, session.JoinsAfter());
  if (joins_after > 0) {
    ++result_.anew;
    ASSIGN_OR_RETURN(const Published published, session.CloseRound(joins_after));
    CheckRead(site, published);
    RETURN_IF_ERROR(session.NoteReading(joins_after, ""));
    disk.trained_round = disk.closed_round = joins_after;
    disk.adapter = ContributionOf(site, joins_after);  // where it begins is of no matter; this is easy to check
  }
  while (disk.closed_round < options_.rounds) {
    const int64_t round = disk.closed_round + 1;
    if (disk.trained_round < round) {
      RETURN_IF_ERROR(clock.Sleep(static_cast<int64_t>(Draw() * kDeadlineMs * 0.7)));
      Train(disk, site, round);
    }
    CheckAdapter(disk, site);
    at::Tensor sent = disk.adapter.clone();
    if (options_.planted == Planted::kOtherBytesAfterRestart && disk.lives > 1) sent.add_(1.0);
    RETURN_IF_ERROR(session.Send({round, site, WeightOf(site), sent}));
    ASSIGN_OR_RETURN(Published published, session.CloseRound(round));
    if (options_.planted == Planted::kReadsOldSum && disk.read.contains(round - 1)) published.values = disk.read[round - 1].values;
    CheckRead(site, published);
    if (options_.planted == Planted::kOwnAdapterFromSum) disk.adapter = published.values / published.total_weight;
    disk.read[round] = published;
    RETURN_IF_ERROR(session.NoteReading(round, Draw() < 0.1 ? "pinned: by chance" : ""));
    disk.closed_round = round;
  }
  CheckAdapter(disk, site);
  return absl::OkStatus();
}

void Simulation::RunSite(int64_t site) {
  {
    std::unique_lock<std::mutex> lock(mutex_);
    turn_[site].wait(lock, [&] { return running_ == site; });
  }
  for (;;) {
    const Status life = SiteLife(site);
    Note(absl::StrCat("site ", site, " ends: ", life.ToString()));
    if (life.ok()) break;
    if (KindOf(life) != ErrorKind::kInterrupted) {
      if (journal_.position().ended) break;  // the run ended without it
      Violate(absl::StrCat("site ", site, " gave up: ", life.message()));
      break;
    }
    if (Draw() < options_.state_lost) {
      SiteDisk empty;
      empty.lives = disks_.at(site).lives;
      disks_.at(site) = empty;
    }
    WaitUntil(site, now_ms_ + Delay() * 10);  // somebody starts it again
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  wake_ms_.erase(site);
  running_ = kServer;
  wake_ms_[kServer] = now_ms_;
  turn_[kServer].notify_one();
}

/// What a site reads is what the server counts, to the last bit.
void Simulation::CheckRead(int64_t site, const Published& published) {
  const auto found = journal_.published.find(published.round);
  if (found == journal_.published.end()) return Violate("a site read a round that was not published");
  const auto own = found->second.contributors.find(site);
  if (published.own_round.value_or(-1) != (own == found->second.contributors.end() ? 0 : own->second))
    Violate(absl::StrCat("site ", site, " was told a wrong round of its own contribution"));
  if (published.own_round.value_or(0) < published.round) ++result_.late;
  at::Tensor expected = at::zeros({kValues});
  double weight = 0.0;
  for (const auto& [other, round] : found->second.contributors) {
    expected.add_(ContributionOf(other, round), WeightOf(other));
    weight += WeightOf(other);
  }
  if (!expected.equal(published.values) || weight != published.total_weight)
    Violate(absl::StrCat("round ", published.round, " is not the sum of what it says to contain"));
}

void Simulation::CheckPublished(const PublishedObject& published) {
  const auto& received = journal_.received_in[published.round];
  if (static_cast<int64_t>(received.size()) < options_.minimum_cohort)
    Violate(absl::StrCat("round ", published.round, " was published below the floor"));
  for (const auto& [site, round] : published.contributors) {
    const bool is_new = received.contains(site);
    if (is_new != (round == published.round)) Violate(absl::StrCat("site ", site, " counts with round ", round));
    if (round > published.round || !journal_.received_in[round].contains(site))
      Violate(absl::StrCat("site ", site, " counts with what it did not send"));
  }
  for (const auto& [site, contribution] : received)
    if (!published.contributors.contains(site)) Violate(absl::StrCat("an upload of site ", site, " was lost"));
}

void Simulation::CheckEnd() {
  for (const auto& [round, published] : journal_.published) CheckPublished(published);
  for (const auto& [key, attempts] : acknowledged_) {
    const auto closed = journal_.published.find(key.second);
    if (closed == journal_.published.end()) continue;
    const auto& received = journal_.received_in[key.second];
    const int64_t last = received.empty() ? 0 : received.begin()->second.attempt;
    const bool in_last = std::find(attempts.begin(), attempts.end(), last) != attempts.end();
    const auto counted = closed->second.contributors.find(key.first);
    if (in_last && (counted == closed->second.contributors.end() || counted->second != key.second))
      Violate(absl::StrCat("the acknowledged upload of site ", key.first, " in round ", key.second, " does not count"));
  }
  for (const auto& [round, sites] : journal_.adopted)
    for (const auto& [site, signature] : sites)
      if (!ToySignatures(0).verifies(site, AdoptionMessage(RecordDigest(journal_.records.at(round).bytes)), signature))
        Violate(absl::StrCat("site ", site, " countersigned another record of round ", round));
  if (journal_.saved_twice > 0) Violate("an upload was recorded twice");
  if (!journal_.position().ended || journal_.position().ended->empty()) Violate("the run has no cause of its end");
}

SimulationResult Simulation::Run() {
  StartServer();
  for (int64_t k = 0; k < options_.sites; ++k) wake_ms_[k] = now_ms_ + k;
  for (int64_t k = 0; k < options_.sites; ++k) disks_[k];
  for (int64_t k = kServer; k < options_.sites; ++k) turn_[k];  // all are there before the threads are
  for (int64_t k = 0; k < options_.sites; ++k) threads_.emplace_back([this, k] { RunSite(k); });
  const auto sites_left = [this] {
    const std::lock_guard<std::mutex> lock(mutex_);
    return wake_ms_.size() > (wake_ms_.contains(kServer) ? 1U : 0U);
  };
  while (sites_left() || !journal_.position().ended) {
    ServerStep();
    if (now_ms_ > kEndOfTimeMs) {
      Violate("it never ends");
      break;
    }
    WaitUntil(kServer, now_ms_ + kServerStepMs);
  }
  for (std::thread& thread : threads_) thread.join();
  CheckEnd();
  result_.cause = journal_.position().ended.value_or("");
  result_.closed_rounds = journal_.position().closed_round;
  result_.left_out = static_cast<int64_t>(journal_.left_out.size());
  result_.abandoned = static_cast<int64_t>(journal_.abandoned.size());
  return result_;
}

}  // namespace fedalt::testing
