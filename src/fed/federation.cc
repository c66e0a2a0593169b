#include "fed/federation.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <mutex>
#include <numeric>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/random.h"
#include "fed/round_journal.h"
#include "fed/site_evaluation.h"
#include "train/mixer_weights.h"

namespace fedalt {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

int64_t Bytes(const std::vector<float>& values) {
  return static_cast<int64_t>(values.size() * sizeof(float));
}

/// All sites' training examples as one site's. Example ids stay distinct, because they address the dropout draws.
SiteData PoolOf(const std::vector<SiteData>& sites) {
  SiteData pool;
  pool.name = "all sites";
  for (const SiteData& site : sites)
    for (TokenizedExample example : site.train) {
      example.id = static_cast<int64_t>(pool.train.size());
      pool.train.push_back(std::move(example));
    }
  return pool;
}

class Federation {
 public:
  Federation(const FederationInputs& inputs, const FederationOptions& options, const Method& method, Transport& transport,
             RoundJournal& journal, const FederationHooks& hooks)
      : inputs_(inputs), options_(options), method_(method), transport_(transport), journal_(journal), hooks_(hooks) {}

  StatusOr<RunSummary> Run();

 private:
  int64_t rounds() const { return method_.trains() ? options_.rounds : 1; }
  const std::vector<SiteData>& data() const { return *inputs_.sites; }
  /// The site whose adapters answer for site k: its own, or the one pooled model.
  Site& ModelOf(size_t k) { return *sites_[method_.pools_data() ? 0 : k]; }

  Status MakeSites();
  Status Recover();
  StatusOr<RoundResult> RunRound(int64_t round);
  std::vector<int64_t> Cohort(int64_t round) const;
  TrainOptions TrainOptionsOf(int64_t round) const;
  int64_t StepsOf(int64_t round, const Site& site) const;
  int64_t StepsBefore(int64_t round) const;

  Status TrainCohort(int64_t round, const std::vector<int64_t>& cohort, RoundResult& result);
  StatusOr<TrainReport> TrainSite(int64_t round, Site& site);
  Status Exchange(int64_t round, const std::vector<int64_t>& cohort, RoundResult& result);
  bool EvaluatesIn(int64_t round) const;
  enum class Moment { kBeforeSwap, kAfterSwap };
  Status EvaluateSites(Moment moment, int64_t round, bool swap_follows, RoundResult& result);
  Status EvaluateOne(Moment moment, int64_t round, bool swap_follows, size_t k, SiteRoundResult& result);
  bool NoteBest(RoundResult& result);

  /// Calls work(i) for i in [0, count), on up to sites_at_once threads; the first error (by index) is returned.
  Status ForEach(size_t count, const std::function<Status(size_t)>& work) const;
  bool ShouldStop() const { return hooks_.should_stop && hooks_.should_stop(); }
  void Tell(int64_t done, const std::string& note);

  const FederationInputs& inputs_;
  const FederationOptions& options_;
  const Method& method_;
  Transport& transport_;
  RoundJournal& journal_;
  const FederationHooks& hooks_;

  std::vector<std::unique_ptr<Site>> sites_;
  SiteData pool_;
  JournalPosition position_;
  std::mutex mutex_;  // journal_, steps_done_ and the hooks
  int64_t steps_done_ = 0;
  int64_t steps_total_ = 0;
  double train_seconds_ = 0.0;
};

Status Federation::ForEach(size_t count, const std::function<Status(size_t)>& work) const {
  if (options_.sites_at_once <= 1) {
    for (size_t i = 0; i < count; ++i) RETURN_IF_ERROR(work(i));
    return absl::OkStatus();
  }
  // A site gets its share of the cores also where fewer sites are at work: its bits do not depend on how many others there are.
  const size_t threads = std::min(static_cast<size_t>(options_.sites_at_once), count);
  std::vector<Status> statuses(count, absl::OkStatus());
  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  const int cores_each = std::max(1, at::get_num_threads() / static_cast<int>(options_.sites_at_once));
  std::vector<std::thread> workers;
  for (size_t t = 0; t < threads; ++t)
    workers.emplace_back([&] {
      at::set_num_threads(cores_each);  // per calling thread: libtorch and OpenBLAS both read OpenMP's setting of this thread
      for (size_t i = next++; i < count && !failed; i = next++)
        if (statuses[i] = work(i); !statuses[i].ok()) failed = true;
    });
  for (std::thread& worker : workers) worker.join();
  for (const Status& status : statuses) RETURN_IF_ERROR(status);
  return absl::OkStatus();
}

void Federation::Tell(int64_t done, const std::string& note) {
  if (hooks_.on_progress) hooks_.on_progress(done, steps_total_, note);
}

Status Federation::MakeSites() {
  if (method_.pools_data()) {
    pool_ = PoolOf(data());
    ASSIGN_OR_RETURN(auto site, MakeSite(inputs_, options_, method_, 0, &pool_));
    sites_.push_back(std::move(site));
    return absl::OkStatus();
  }
  for (size_t k = 0; k < data().size(); ++k) {
    ASSIGN_OR_RETURN(auto site, MakeSite(inputs_, options_, method_, static_cast<int64_t>(k), &data()[k]));
    sites_.push_back(std::move(site));
  }
  return absl::OkStatus();
}

Status Federation::Recover() {
  ASSIGN_OR_RETURN(position_, journal_.Recover());
  const int64_t closed = position_.closed_round;
  if (closed > 0) {
    for (auto& site : sites_) {
      RETURN_IF_ERROR(journal_.LoadSite(closed, *site));
      if (!site->sent.empty()) RETURN_IF_ERROR(transport_.Restore(site->index, site->sent, site->sent_weight));
    }
    ASSIGN_OR_RETURN(auto sum, journal_.LoadSum(closed));
    if (sum)
      for (auto& site : sites_) RETURN_IF_ERROR(method_.Receive(*sum, *site));
  }
  for (const auto& [index, report] : position_.trained)
    RETURN_IF_ERROR(journal_.LoadSite(closed + 1, *sites_[static_cast<size_t>(index)]));
  return absl::OkStatus();
}

std::vector<int64_t> Federation::Cohort(int64_t round) const {
  if (!method_.trains()) return {};
  if (method_.pools_data()) return {0};
  return CohortOf(options_.participation, static_cast<int64_t>(sites_.size()), round, options_.seed);
}

TrainOptions Federation::TrainOptionsOf(int64_t round) const {
  TrainOptions train = options_.train;
  if (!options_.round_steps.empty()) train.steps = options_.round_steps[static_cast<size_t>(round - 1)];
  if (method_.pools_data() && train.steps > 0) train.steps *= static_cast<int64_t>(data().size());
  return train;
}

int64_t Federation::StepsOf(int64_t round, const Site& site) const {
  const TrainOptions train = TrainOptionsOf(round);
  if (train.steps > 0) return train.steps;
  const auto examples = static_cast<int64_t>(site.data->train.size());
  const int64_t batches = train.local_epochs * ((examples + train.batch_size - 1) / train.batch_size);
  return (batches + train.accumulate - 1) / train.accumulate;
}

int64_t Federation::StepsBefore(int64_t round) const {
  int64_t steps = 0;
  for (int64_t r = 1; r < round; ++r)
    for (int64_t k : Cohort(r)) steps += StepsOf(r, *sites_[static_cast<size_t>(k)]);
  return steps;
}

StatusOr<TrainReport> Federation::TrainSite(int64_t round, Site& site) {
  TrainOptions train = TrainOptionsOf(round);
  method_.PrepareTraining(round, train);
  if (!options_.keep_optimizer) site.train_state = TrainState{};
  const std::string note = absl::StrCat("round ", round, "/", rounds(), ", site ", site.data->name);
  const StepCallback on_step = [&](int64_t, int64_t, double loss) {
    std::lock_guard<std::mutex> lock(mutex_);
    Tell(++steps_done_, absl::StrFormat("%s, loss %.4f", note, loss));
    return !ShouldStop();
  };
  auto report =
      TrainLocalPass(*inputs_.model, site.adapters, site.data->train, train,
                     {options_.seed, static_cast<uint64_t>(site.index), static_cast<uint64_t>(round)}, site.train_state, on_step);
  if (!report.ok()) return Annotate(report.status(), note);
  return report;
}

Status Federation::TrainCohort(int64_t round, const std::vector<int64_t>& cohort, RoundResult& result) {
  const bool exchange = method_.ExchangesIn(round, rounds());
  RETURN_IF_ERROR(ForEach(cohort.size(), [&](size_t i) -> Status {
    Site& site = *sites_[static_cast<size_t>(cohort[i])];
    SiteRoundResult& mine = result.sites[static_cast<size_t>(cohort[i])];
    mine.participated = true;
    if (auto known = position_.trained.find(site.index); known != position_.trained.end()) {
      mine.train = known->second;
      std::lock_guard<std::mutex> lock(mutex_);
      steps_done_ += mine.train.steps;
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(mine.train, TrainSite(round, site));
    if (exchange) {
      site.sent = method_.Contribution(site);
      site.sent_weight = method_.Weight(site);
    }
    std::lock_guard<std::mutex> lock(mutex_);
    return journal_.SaveSite(round, site, &mine.train);
  }));
  position_.trained.clear();
  for (const auto& site : sites_)
    if (!result.sites[static_cast<size_t>(site->index)].participated) RETURN_IF_ERROR(journal_.SaveSite(round, *site, nullptr));
  return absl::OkStatus();
}

Status Federation::Exchange(int64_t round, const std::vector<int64_t>& cohort, RoundResult& result) {
  for (int64_t k : cohort) {
    const Site& site = *sites_[static_cast<size_t>(k)];
    RETURN_IF_ERROR(transport_.Send({round, site.index, site.sent_weight, site.sent}));
    result.sites[static_cast<size_t>(k)].bytes_up = Bytes(site.sent);
  }
  ASSIGN_OR_RETURN(const PublishedSum sum, transport_.CloseRound(round));
  RETURN_IF_ERROR(journal_.SaveSum(sum));
  for (auto& site : sites_) {
    RETURN_IF_ERROR(method_.Receive(sum, *site));
    result.sites[static_cast<size_t>(site->index)].bytes_down = Bytes(*sum.values);
  }
  return absl::OkStatus();
}

bool Federation::EvaluatesIn(int64_t round) const {
  return round == rounds() || (options_.eval.every > 0 && round % options_.eval.every == 0);
}

Status Federation::EvaluateOne(Moment moment, int64_t round, bool swap_follows, size_t k, SiteRoundResult& result) {
  if (ShouldStop()) return InterruptedError(absl::StrCat("stopped before the evaluation of site ", data()[k].name));
  Site& model_of = ModelOf(k);
  // Two sites may be evaluated on one pooled model at the same time: its mode is then the same for both.
  const BranchMode mode = method_.branches();
  ASSIGN_OR_RETURN(SiteScores scores, ScoreSite(inputs_, model_of, data()[k], options_.eval.options, mode));
  const bool after = moment == Moment::kAfterSwap;
  (after ? result.after_swap : result.before_swap) = std::move(scores);
  const Deploy deploy = method_.deploy();
  bool use_swapped = false;
  if (after) {
    use_swapped = deploy == Deploy::kSwapped;
    if (deploy == Deploy::kValidation && result.before_swap && result.after_swap->validation_loss &&
        result.before_swap->validation_loss)
      use_swapped = *result.after_swap->validation_loss < *result.before_swap->validation_loss;
    result.deployed = use_swapped ? "after_swap" : "before_swap";
  }
  const AblationSchedule schedule = options_.eval.ablations;
  const bool ablate = method_.has_rest_of_world() &&
                      (schedule == AblationSchedule::kEvery || (schedule == AblationSchedule::kFinal && round == rounds()));
  // The deployed model is ablated. If a swap follows that may not be used, that has to happen now.
  const bool now = after ? use_swapped : (!swap_follows || deploy != Deploy::kSwapped);
  if (!now) return absl::OkStatus();
  if (ablate) {
    ASSIGN_OR_RETURN(result.ablations, ScoreAblations(inputs_, model_of, data()[k], options_.eval.options));
  }
  if (method_.has_rest_of_world()) {
    ASSIGN_OR_RETURN(
        const std::vector<double> weights,
        MeanIndividualWeights(*inputs_.model, model_of.adapters, data()[k].test.tokenized, options_.eval.options.loss_batch_size));
    result.mean_individual_weight = std::accumulate(weights.begin(), weights.end(), 0.0) / static_cast<double>(weights.size());
  }
  return absl::OkStatus();
}

Status Federation::EvaluateSites(Moment moment, int64_t round, bool swap_follows, RoundResult& result) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    Tell(steps_done_,
         absl::StrCat("round ", round, "/", rounds(), ", evaluation", moment == Moment::kAfterSwap ? " after the swap" : ""));
  }
  return ForEach(result.sites.size(), [&](size_t k) { return EvaluateOne(moment, round, swap_follows, k, result.sites[k]); });
}

bool Federation::NoteBest(RoundResult& result) {
  double loss = 0.0;
  for (const SiteRoundResult& site : result.sites) {
    const auto& scores = site.deployed == "after_swap" ? site.after_swap : site.before_swap;
    if (!scores || !scores->validation_loss) return false;
    loss += *scores->validation_loss / static_cast<double>(result.sites.size());
  }
  result.mean_validation_loss = loss;
  if (position_.best_round != 0 && loss >= position_.best_validation_loss) return false;
  position_.best_round = result.round;
  position_.best_validation_loss = loss;
  return true;
}

StatusOr<RoundResult> Federation::RunRound(int64_t round) {
  const auto start = Clock::now();
  RoundResult result;
  result.round = round;
  result.evaluated = EvaluatesIn(round);
  for (const SiteData& site : data()) {
    result.sites.emplace_back();
    result.sites.back().site = site.name;
    result.sites.back().round = round;
  }
  for (auto& site : sites_) method_.BeginRound(round, *site);
  const std::vector<int64_t> cohort = Cohort(round);
  const bool exchange = method_.trains() && method_.ExchangesIn(round, rounds());
  steps_done_ = StepsBefore(round);
  RETURN_IF_ERROR(TrainCohort(round, cohort, result));
  train_seconds_ += SecondsSince(start);
  if (method_.pools_data())
    for (size_t k = 1; k < result.sites.size(); ++k) result.sites[k].train = result.sites[0].train;
  if (result.evaluated) RETURN_IF_ERROR(EvaluateSites(Moment::kBeforeSwap, round, exchange, result));
  if (exchange) {
    RETURN_IF_ERROR(Exchange(round, cohort, result));
    if (result.evaluated) RETURN_IF_ERROR(EvaluateSites(Moment::kAfterSwap, round, false, result));
  }
  result.seconds = SecondsSince(start);
  const bool is_best = result.evaluated && NoteBest(result);
  RETURN_IF_ERROR(journal_.CloseRound(result, is_best));
  position_.closed_round = round;
  return result;
}

StatusOr<RunSummary> Federation::Run() {
  const auto start = Clock::now();
  if (!transport_.Offers(method_.needs()))
    return ConfigError(
        absl::StrCat("method ", method_.name(), " needs more from the transport than this one offers; choose another method"));
  RETURN_IF_ERROR(MakeSites());
  RETURN_IF_ERROR(Recover());
  steps_total_ = method_.trains() ? StepsBefore(rounds() + 1) : 0;
  RunSummary summary;
  summary.method = method_.name();
  summary.preset = options_.method.preset;
  summary.rounds = method_.trains() ? rounds() : 0;
  for (int64_t round = position_.closed_round + 1; round <= rounds(); ++round) {
    if (ShouldStop()) return InterruptedError(absl::StrCat("stopped before round ", round, " of ", rounds()));
    ASSIGN_OR_RETURN(RoundResult result, RunRound(round));
    summary.sites = std::move(result.sites);
  }
  summary.best_round = position_.best_round;
  summary.seconds = SecondsSince(start);
  summary.train_seconds = train_seconds_;
  return summary;
}

}  // namespace

std::vector<int64_t> CohortOf(const ParticipationOptions& participation, int64_t sites, int64_t round, uint64_t seed) {
  int64_t count = participation.count;
  if (count <= 0) count = std::llround(participation.fraction * static_cast<double>(sites));
  count = std::clamp<int64_t>(count, 1, sites);
  std::vector<int64_t> cohort =
      RandomStream(seed, RandomPurpose::kParticipation, {static_cast<uint64_t>(round)}).Permutation(sites);
  cohort.resize(static_cast<size_t>(count));
  std::sort(cohort.begin(), cohort.end());
  return cohort;
}

StatusOr<std::unique_ptr<Site>> MakeSite(const FederationInputs& inputs, const FederationOptions& options, const Method& method,
                                         int64_t index, const SiteData* data) {
  ASSIGN_OR_RETURN(std::vector<AdaptedModule> modules, FindAdaptedModules(*inputs.model, options.adapter));
  AdapterConfig adapter = options.adapter;
  if (!method.has_rest_of_world()) adapter.mixer = MixerKind::kNone;
  auto site = std::make_unique<Site>(index, data, std::move(modules), adapter, inputs.model->device());
  site->adapters.Initialize({options.seed, static_cast<uint64_t>(index), method.init_shared_a()});
  site->adapters.mode().branches = method.branches();
  // With one shared A the rest of the world starts from it too (B is zero), so that damping mixes like with like.
  if (method.has_rest_of_world() && method.init_shared_a())
    RETURN_IF_ERROR(site->adapters.SetRestOfWorld(site->adapters.Individual()));
  if (inputs.initial_individual != nullptr && !inputs.initial_individual->empty())
    RETURN_IF_ERROR(
        Annotate(site->adapters.SetIndividual((*inputs.initial_individual)[static_cast<size_t>(index)]), "initial adapter"));
  return site;
}

StatusOr<RunSummary> RunFederation(const FederationInputs& inputs, const FederationOptions& options, Transport& transport,
                                   RoundJournal& journal, const FederationHooks& hooks) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Method> method, MakeMethod(options.method));
  FEDALT_CHECK(inputs.sites != nullptr && !inputs.sites->empty(), "a federation has sites");
  return Federation(inputs, options, *method, transport, journal, hooks).Run();
}

}  // namespace fedalt
