#include "fed/federation.h"

#include <absl/strings/str_join.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <mutex>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "base/random.h"
#include "fed/cohort.h"
#include "fed/exchange.h"
#include "fed/finite.h"
#include "fed/model_after.h"
#include "fed/reading.h"
#include "fed/rest_of_world.h"
#include "fed/round_journal.h"
#include "fed/site_evaluation.h"
#include "fed/site_training.h"
#include "fed/site_workers.h"
#include "fed/upload_format.h"
#include "train/mixer_weights.h"

namespace fedalt {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The places of the sites in the order of their names, so that sums over sites do not depend on how the sites were listed.
std::vector<size_t> OrderOfNames(const std::vector<SiteInfo>& sites) {
  std::vector<size_t> order(sites.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return sites[a].name < sites[b].name; });
  return order;
}

/// All sites' training examples as one site's. Example ids stay distinct, because they address the dropout draws.
StatusOr<std::shared_ptr<const SiteData>> PoolOf(const SiteSource& sites) {
  auto pool = std::make_shared<SiteData>();
  pool->name = kPooledSite;
  for (const size_t k : OrderOfNames(sites.sites())) {
    ASSIGN_OR_RETURN(const std::shared_ptr<const SiteData> site, sites.Load(k));
    for (TokenizedExample example : site->train) {
      example.id = static_cast<int64_t>(pool->train.size());
      pool->train.push_back(std::move(example));
    }
  }
  return pool;
}

/// What a site may tell others of its round: numbers over all its examples, never of one.
std::map<std::string, double> MetricsOf(const SiteRoundResult& result) {
  std::map<std::string, double> values;
  if (result.participated) {
    values["train_loss"] = result.train.mean_loss;
    values["train_tokens"] = static_cast<double>(result.train.tokens);
    values["train_seconds"] = result.train.seconds;
  }
  const auto& scores = result.deployed == "after_swap" ? result.after_swap : result.before_swap;
  if (scores) values["loss"] = scores->test.all.loss;
  if (scores && scores->validation_loss) values["validation_loss"] = *scores->validation_loss;
  values["took_in"] = result.refused.empty() ? 1.0 : 0.0;
  return values;
}

class Federation {
 public:
  Federation(const FederationInputs& inputs, const FederationOptions& options, const Method& method, Transport& transport,
             RoundJournal& journal, const FederationHooks& hooks, std::vector<AdaptedModule> modules)
      : inputs_(inputs),
        options_(options),
        method_(method),
        transport_(transport),
        journal_(journal),
        hooks_(hooks),
        exchange_(method, transport, journal, {std::move(modules), LargestRank(options.method, options.adapter), options.upload}),
        models_{inputs, options, method, journal,
                [this](int64_t round, const std::string& site) { return exchange_.ReceivedBy(round, site); }} {}

  StatusOr<RunSummary> Run();

 private:
  int64_t rounds() const { return method_.trains() ? options_.rounds : 1; }
  const std::vector<SiteInfo>& infos() const { return inputs_.sites->sites(); }
  /// Models that there are: one per site, or the pooled one.
  int64_t models() const { return method_.pools_data() ? 1 : static_cast<int64_t>(infos().size()); }
  bool everybody_here() const { return inputs_.all_sites.empty(); }
  SiteInfo InfoOf(int64_t k) const {
    if (pool_) return {pool_->name, static_cast<int64_t>(pool_->train.size())};
    return infos()[static_cast<size_t>(k)];
  }

  Status Recover();
  void NoteHistory(int64_t round);
  /// Model k as it begins `round`.
  StatusOr<std::unique_ptr<Site>> Begin(int64_t round, int64_t k) const;
  StatusOr<RoundResult> RunRound(int64_t round);
  const std::vector<int64_t>& Cohort(int64_t round) const { return cohorts_[static_cast<size_t>(round - 1)]; }
  std::vector<int64_t> DrawCohort(int64_t round) const;
  TrainOptions TrainOptionsOf(int64_t round) const;
  int64_t StepsOf(int64_t round, int64_t k) const;
  int64_t StepsBefore(int64_t round) const;

  Status TrainCohort(int64_t round, const std::vector<int64_t>& cohort, RoundResult& result);
  Status TrainOne(int64_t round, int64_t k, SiteRoundResult& result);
  StatusOr<TrainReport> Train(int64_t round, int64_t k, Site& site);
  Status KeepAbsent(int64_t round, int64_t k);
  Status ExchangeAndSwap(int64_t round, RoundResult& result);
  Status DecideOnReading(int64_t round, RoundResult& result);
  StatusOr<AdoptionLook> LookAt(Moment moment, int64_t round, int64_t k, bool validates) const;
  std::string OthersIn(int64_t round, const std::string& site) const;
  Status JoinAfter(int64_t round);
  Status NoteInfluence(int64_t round, const std::vector<Contributor>& contributors, RoundResult& result) const;
  bool ExchangesIn(int64_t round) const { return method_.trains() && method_.ExchangesIn(round, rounds()); }
  bool EvaluatesIn(int64_t round) const;
  Status EvaluateSites(Moment moment, int64_t round, bool swap_follows, RoundResult& result);
  Status EvaluateOne(Moment moment, int64_t round, bool swap_follows, size_t k, SiteRoundResult& result);
  bool NoteBest(RoundResult& result);

  Status ForEach(const std::vector<int64_t>& models, const std::function<Status(int64_t)>& work) const {
    return ForEachSite(models, cost_, options_.sites_at_once, work);
  }
  bool ShouldStop() const { return hooks_.should_stop && hooks_.should_stop(); }
  void Tell(int64_t done, const std::string& note);

  const FederationInputs& inputs_;
  const FederationOptions& options_;
  const Method& method_;
  Transport& transport_;
  RoundJournal& journal_;
  const FederationHooks& hooks_;
  Exchange exchange_;
  ModelSource models_;

  std::shared_ptr<const SiteData> pool_;       // only of methods that pool the data
  std::vector<std::vector<int64_t>> cohorts_;  // by round
  std::vector<int64_t> cost_;                  // per site: tokens of its last training; before it, examples
  std::vector<bool> sent_;                     // per model: whether it is in the ledger, up to the last closed round
  JournalPosition position_;
  std::mutex mutex_;  // journal_, steps_done_ and the hooks
  int64_t steps_done_ = 0;
  int64_t steps_total_ = 0;
  double train_seconds_ = 0.0;
};

void Federation::Tell(int64_t done, const std::string& note) {
  if (hooks_.on_progress) hooks_.on_progress(done, steps_total_, note);
}

Status Federation::Recover() {
  ASSIGN_OR_RETURN(position_, journal_.Recover());
  sent_.resize(static_cast<size_t>(models()));
  const int64_t closed = position_.closed_round;
  for (int64_t round = position_.joined_round + 1; round <= closed; ++round) NoteHistory(round);
  if (closed == 0 || closed == rounds() || !ExchangesIn(closed)) return absl::OkStatus();
  std::vector<std::string> readers;
  for (int64_t k = 0; k < models(); ++k) readers.push_back(InfoOf(k).name);
  return exchange_.Recover(closed, readers);
}

void Federation::NoteHistory(int64_t round) {
  if (!ExchangesIn(round)) return;
  for (int64_t k : Cohort(round)) sent_[static_cast<size_t>(k)] = true;
}

StatusOr<std::unique_ptr<Site>> Federation::Begin(int64_t round, int64_t k) const {
  ASSIGN_OR_RETURN(std::unique_ptr<Site> site, ModelAfter(models_, round - 1, Moment::kAfterSwap, k, InfoOf(k)));
  method_.BeginRound(round, *site);
  return site;
}

std::vector<int64_t> Federation::DrawCohort(int64_t round) const {
  if (!method_.trains()) return {};
  if (method_.pools_data()) return {0};
  std::vector<std::string> names;
  for (const SiteInfo& site : infos()) names.push_back(site.name);
  if (everybody_here()) return CohortOf(options_.participation, names, round, options_.seed);
  std::vector<int64_t> here;
  for (const int64_t site : CohortOf(options_.participation, inputs_.all_sites, round, options_.seed)) {
    const auto found = std::find(names.begin(), names.end(), inputs_.all_sites[static_cast<size_t>(site)]);
    if (found != names.end()) here.push_back(found - names.begin());
  }
  std::sort(here.begin(), here.end());
  return here;
}

TrainOptions Federation::TrainOptionsOf(int64_t round) const {
  TrainOptions train = options_.train;
  if (!options_.round_steps.empty()) train.steps = options_.round_steps[static_cast<size_t>(round - 1)];
  if (method_.pools_data() && train.steps > 0) train.steps *= static_cast<int64_t>(infos().size());
  return train;
}

int64_t Federation::StepsOf(int64_t round, int64_t k) const {
  const TrainOptions train = TrainOptionsOf(round);
  if (train.steps > 0) return train.steps;
  const int64_t examples = InfoOf(k).train_examples;
  const int64_t batches = train.local_epochs * ((examples + train.batch_size - 1) / train.batch_size);
  return (batches + train.accumulate - 1) / train.accumulate;
}

int64_t Federation::StepsBefore(int64_t round) const {
  int64_t steps = 0;
  for (int64_t r = 1; r < round; ++r)
    for (int64_t k : Cohort(r)) steps += StepsOf(r, k);
  return steps;
}

StatusOr<TrainReport> Federation::Train(int64_t round, int64_t k, Site& site) {
  const std::string note = absl::StrCat("round ", round, "/", rounds(), ", site ", site.info.name);
  const StepCallback on_step = [&](int64_t, int64_t, double loss) {
    std::lock_guard<std::mutex> lock(mutex_);
    Tell(++steps_done_, absl::StrFormat("%s, loss %.4f", note, loss));
    return !ShouldStop();
  };
  std::shared_ptr<const SiteData> data = pool_;
  if (!data) {
    ASSIGN_OR_RETURN(data, inputs_.sites->Load(static_cast<size_t>(k)));
  }
  const SiteTraining training{*inputs_.model,          method_,      *data, TrainOptionsOf(round), StepsOf(round, k), round,
                              options_.keep_optimizer, options_.seed};
  auto report = TrainSite(training, site, on_step);
  if (report.ok()) return report;
  const bool may_be_others = transport_.Aggregates() && KindOf(report.status()) == ErrorKind::kTraining && site.read_round > 0;
  if (!may_be_others) return Annotate(report.status(), note);
  return Annotate(TrainingError(absl::StrCat(report.status().message(), "; this site reads what round ", site.read_round,
                                             " published (in the round: ", OthersIn(site.read_round, site.info.name),
                                             "); if that is the cause, ", kOthersRemedy)),
                  note);
}

/// An absent site stands still; only what it reads of the others is renewed.
Status Federation::KeepAbsent(int64_t round, int64_t k) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Site> site, Begin(round, k));
  std::lock_guard<std::mutex> lock(mutex_);
  if (ShouldStop()) return InterruptedError(absl::StrCat("stopped while round ", round, " was saved"));
  return journal_.SaveSite(round, *site, nullptr);
}

Status Federation::TrainOne(int64_t round, int64_t k, SiteRoundResult& result) {
  result.participated = true;
  if (auto known = position_.trained.find(k); known != position_.trained.end()) {
    result.train = known->second;
    std::lock_guard<std::mutex> lock(mutex_);
    steps_done_ += result.train.steps;
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Site> site, Begin(round, k));
  ASSIGN_OR_RETURN(result.train, Train(round, k, *site));
  if (ExchangesIn(round)) {
    site->sent = {AsTransmitted(method_.Contribution(round, *site), options_.upload), method_.Weight(site->info.train_examples),
                  round};
    if (!IsFinite(site->sent.values))
      return TrainingError(absl::StrCat("round ", round, "/", rounds(), ", site ", site->info.name,
                                        ": after its training its adapters hold values that are not finite; lower train.lr"));
  }
  std::lock_guard<std::mutex> lock(mutex_);
  return journal_.SaveSite(round, *site, &result.train);
}

Status Federation::TrainCohort(int64_t round, const std::vector<int64_t>& cohort, RoundResult& result) {
  RETURN_IF_ERROR(ForEach(cohort, [&](int64_t k) { return TrainOne(round, k, result.sites[static_cast<size_t>(k)]); }));
  position_.trained.clear();
  for (int64_t k : cohort) cost_[static_cast<size_t>(k)] = result.sites[static_cast<size_t>(k)].train.tokens;
  std::vector<int64_t> absent;
  for (int64_t k = 0; k < models(); ++k)
    if (!result.sites[static_cast<size_t>(k)].participated) absent.push_back(k);
  return ForEach(absent, [&](int64_t k) { return KeepAbsent(round, k); });
}

Status Federation::ExchangeAndSwap(int64_t round, RoundResult& result) {
  std::vector<Contributor> contributors;
  std::vector<std::string> readers;
  for (int64_t k = 0; k < models(); ++k) {
    const SiteRoundResult& site = result.sites[static_cast<size_t>(k)];
    readers.push_back(site.site);
    // Where a server aggregates, it has the ledger.
    const bool kept =
        method_.ledger_policy() == LedgerPolicy::kKeepAbsent && sent_[static_cast<size_t>(k)] && !transport_.Aggregates();
    if (site.participated || kept) contributors.push_back({k, site.site, site.participated});
  }
  SortByName(contributors);
  ASSIGN_OR_RETURN(const Exchange::Bytes bytes, exchange_.Run(round, contributors, readers));
  for (size_t i = 0; i < contributors.size(); ++i) result.sites[static_cast<size_t>(contributors[i].site)].bytes_up = bytes.up[i];
  for (size_t k = 0; k < readers.size(); ++k) result.sites[k].bytes_down = bytes.down[k];
  RETURN_IF_ERROR(DecideOnReading(round, result));
  return result.evaluated ? NoteInfluence(round, contributors, result) : absl::OkStatus();
}

StatusOr<AdoptionLook> Federation::LookAt(Moment moment, int64_t round, int64_t k, bool validates) const {
  ASSIGN_OR_RETURN(const std::shared_ptr<const SiteData> data, inputs_.sites->Load(static_cast<size_t>(k)));
  ASSIGN_OR_RETURN(const std::unique_ptr<Site> site, UsedModelAfter(models_, round, moment, k, InfoOf(k)));
  const auto loss = [&](const SiteData& of) {
    return ScoreValidation(inputs_, method_, *site, of, options_.eval.options, method_.branches());
  };
  AdoptionLook look;
  look.norm = NormOf(site->adapters);
  if (validates) {
    ASSIGN_OR_RETURN(look.validation_loss, loss(*data));
  }
  if (!transport_.Aggregates()) return look;
  SiteData batch;
  batch.name = data->name;
  const size_t examples = std::min(data->train.size(), static_cast<size_t>(options_.train.batch_size));
  batch.validation.assign(data->train.begin(), data->train.begin() + static_cast<std::ptrdiff_t>(examples));
  ASSIGN_OR_RETURN(look.training_loss, loss(batch));
  return look;
}

/// Who else was to take part in a round, for messages.
std::string Federation::OthersIn(int64_t round, const std::string& site) const {
  std::vector<std::string> names;
  for (const int64_t k : CohortOf(options_.participation, inputs_.all_sites, round, options_.seed))
    if (const std::string& name = inputs_.all_sites[static_cast<size_t>(k)]; name != site) names.push_back(name);
  constexpr size_t kShown = 10;
  if (const size_t all = names.size(); all > kShown + 1) {
    names.resize(kShown);
    names.push_back(absl::StrCat(all - kShown, " others"));
  }
  return absl::StrJoin(names, ", ");
}

Status Federation::DecideOnReading(int64_t round, RoundResult& result) {
  const bool keeps_absent = method_.ledger_policy() == LedgerPolicy::kKeepAbsent;
  ReadingRules rules{keeps_absent ? method_.options().rest_of_world.guard : -1.0, inputs_.pinned_round, {}, {}};
  if (transport_.Aggregates()) rules.most_loss_gain = std::log(static_cast<double>(inputs_.model->config().vocab_size));
  for (SiteRoundResult& site : result.sites) site.reads_round = round;
  if (rules.guard < 0.0 && !rules.pinned_round && !transport_.Aggregates()) return absl::OkStatus();
  for (int64_t k = 0; k < models(); ++k) {
    ASSIGN_OR_RETURN(const std::unique_ptr<Site> site, MakeSite(inputs_, options_, method_, k, InfoOf(k)));
    rules.look = [&](Moment moment) { return LookAt(moment, round, k, rules.guard >= 0.0); };
    SiteRoundResult& of_site = result.sites[static_cast<size_t>(k)];
    ASSIGN_OR_RETURN(of_site.refused, fedalt::DecideOnReading(round, rules, exchange_, transport_, journal_, *site));
    if (of_site.refused.empty()) continue;
    of_site.reads_round = site->read_round;
    LogWarning(absl::StrCat("site ", of_site.site, " did not adopt what round ", round, " published: ", of_site.refused,
                            transport_.Aggregates() ? absl::StrCat(" (in the round: ", OthersIn(round, of_site.site), ")") : ""));
  }
  return absl::OkStatus();
}

/// The sites here begin behind the rounds of others: as they start, with what `round` published.
Status Federation::JoinAfter(int64_t round) {
  RoundResult result;
  result.round = round;
  result.joined = true;
  std::vector<std::string> readers;
  for (int64_t k = 0; k < models(); ++k) {
    ASSIGN_OR_RETURN(const std::unique_ptr<Site> site, ModelAfter(models_, 0, Moment::kBeforeSwap, k, InfoOf(k)));
    RETURN_IF_ERROR(journal_.SaveSite(round, *site, nullptr));
    readers.push_back(InfoOf(k).name);
    result.sites.emplace_back();
    result.sites.back().site = readers.back();
    result.sites.back().round = round;
  }
  RETURN_IF_ERROR(exchange_.Run(round, {}, readers).status());
  RETURN_IF_ERROR(DecideOnReading(round, result));
  RETURN_IF_ERROR(journal_.CloseRound(result, false));
  position_.closed_round = position_.joined_round = round;
  return absl::OkStatus();
}

/// For methods whose sites read a weighted mean of the ledger, and federations of which all is here and a table can be read.
Status Federation::NoteInfluence(int64_t round, const std::vector<Contributor>& contributors, RoundResult& result) const {
  if (method_.ledger_policy() != LedgerPolicy::kKeepAbsent || models() > kSitesInInfluence || !everybody_here())
    return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto shares, exchange_.Influences(round, contributors, models()));
  for (size_t k = 0; k < shares.size(); ++k)
    for (size_t j = 0; j < contributors.size(); ++j)
      if (contributors[j].site != static_cast<int64_t>(k) || method_.options().rest_of_world.include_self)
        result.sites[k].influence.emplace_back(contributors[j].name, shares[k][j]);
  return absl::OkStatus();
}

bool Federation::EvaluatesIn(int64_t round) const {
  return round == rounds() || (options_.eval.every > 0 && round % options_.eval.every == 0);
}

Status Federation::EvaluateOne(Moment moment, int64_t round, bool swap_follows, size_t k, SiteRoundResult& result) {
  if (ShouldStop()) return InterruptedError(absl::StrCat("stopped before the evaluation of site ", infos()[k].name));
  const int64_t of = pool_ ? 0 : static_cast<int64_t>(k);
  ASSIGN_OR_RETURN(const std::unique_ptr<Site> model_of, UsedModelAfter(models_, round, moment, of, InfoOf(of)));
  ASSIGN_OR_RETURN(const std::shared_ptr<const SiteData> data, inputs_.sites->Load(k));
  ASSIGN_OR_RETURN(SiteScores scores, ScoreSite(inputs_, method_, *model_of, *data, options_.eval.options, method_.branches()));
  const bool after = moment == Moment::kAfterSwap;
  (after ? result.after_swap : result.before_swap) = std::move(scores);
  const Deploy deploy = method_.deploy();
  bool use_swapped = false;
  if (after) {
    use_swapped = deploy == Deploy::kSwapped;
    if (deploy == Deploy::kValidation && result.before_swap && result.after_swap->validation_loss &&
        result.before_swap->validation_loss)
      use_swapped = IsBetterLoss(*result.after_swap->validation_loss, *result.before_swap->validation_loss);
    result.deployed = NameOf(use_swapped ? Moment::kAfterSwap : Moment::kBeforeSwap);
  }
  const AblationSchedule schedule = options_.eval.ablations;
  // Where both adapters are fused into one (fdlora), there is no branch to take away.
  const bool ablate = method_.has_rest_of_world() && method_.branches() == BranchMode::kBoth &&
                      (schedule == AblationSchedule::kEvery || (schedule == AblationSchedule::kFinal && round == rounds()));
  // The deployed model is ablated. If a swap follows that may not be used, that has to happen now.
  const bool now = after ? use_swapped : (!swap_follows || deploy != Deploy::kSwapped);
  if (!now) return absl::OkStatus();
  if (ablate) {
    ASSIGN_OR_RETURN(result.ablations, ScoreAblations(inputs_, method_, *model_of, *data, options_.eval.options));
  }
  if (method_.has_rest_of_world()) {
    ASSIGN_OR_RETURN(
        const std::vector<double> weights,
        MeanIndividualWeights(*inputs_.model, model_of->adapters, data->test.tokenized, options_.eval.options.loss_batch_size));
    result.mean_individual_weight = std::accumulate(weights.begin(), weights.end(), 0.0) / static_cast<double>(weights.size());
    const MixerKind mixer = model_of->adapters.config().mixer;
    if (mixer == MixerKind::kToken || mixer == MixerKind::kLayer)
      for (size_t i = 0; i < weights.size(); ++i) result.mixer.emplace_back(model_of->adapters.modules()[i].name, weights[i]);
  }
  return absl::OkStatus();
}

Status Federation::EvaluateSites(Moment moment, int64_t round, bool swap_follows, RoundResult& result) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    Tell(steps_done_,
         absl::StrCat("round ", round, "/", rounds(), ", evaluation", moment == Moment::kAfterSwap ? " after the swap" : ""));
  }
  std::vector<int64_t> all(result.sites.size());
  std::iota(all.begin(), all.end(), int64_t{0});
  return ForEach(all, [&](int64_t k) {
    return EvaluateOne(moment, round, swap_follows, static_cast<size_t>(k), result.sites[static_cast<size_t>(k)]);
  });
}

bool Federation::NoteBest(RoundResult& result) {
  double loss = 0.0;
  for (const size_t k : OrderOfNames(infos())) {
    const SiteRoundResult& site = result.sites[k];
    const auto& scores = site.deployed == "after_swap" ? site.after_swap : site.before_swap;
    if (!scores || !scores->validation_loss) return false;
    loss += *scores->validation_loss / static_cast<double>(result.sites.size());
  }
  result.mean_validation_loss = loss;
  if (!std::isfinite(loss) || (position_.best_round != 0 && !IsBetterLoss(loss, position_.best_validation_loss))) return false;
  position_.best_round = result.round;
  position_.best_validation_loss = loss;
  return true;
}

StatusOr<RoundResult> Federation::RunRound(int64_t round) {
  const auto start = Clock::now();
  RoundResult result;
  result.round = round;
  result.evaluated = EvaluatesIn(round);
  for (const SiteInfo& site : infos()) {
    result.sites.emplace_back();
    result.sites.back().site = site.name;
    result.sites.back().round = round;
  }
  const std::vector<int64_t>& cohort = Cohort(round);
  const bool exchange = ExchangesIn(round);
  steps_done_ = StepsBefore(round);
  RETURN_IF_ERROR(TrainCohort(round, cohort, result));
  train_seconds_ += SecondsSince(start);
  exchange_.Forget();  // every site has taken in what the round before published
  if (method_.pools_data())
    for (SiteRoundResult& site : result.sites) {  // the data of all of them
      site.participated = true;
      site.train = result.sites[0].train;
    }
  if (result.evaluated) RETURN_IF_ERROR(EvaluateSites(Moment::kBeforeSwap, round, exchange, result));
  if (exchange) {
    RETURN_IF_ERROR(ExchangeAndSwap(round, result));
    for (SiteRoundResult& site : result.sites) site.deployed = NameOf(UnmeasuredMoment(method_));
    if (result.evaluated) RETURN_IF_ERROR(EvaluateSites(Moment::kAfterSwap, round, false, result));
  }
  result.seconds = SecondsSince(start);
  const bool is_best = result.evaluated && NoteBest(result);
  RETURN_IF_ERROR(journal_.CloseRound(result, is_best));
  if (exchange && !everybody_here()) transport_.Report(round, MetricsOf(result.sites.front()));
  NoteHistory(round);
  return result;
}

StatusOr<RunSummary> Federation::Run() {
  const auto start = Clock::now();
  if (!transport_.Offers(method_.needs()))
    return ConfigError(
        absl::StrCat("method ", method_.name(), " needs more from the transport than this one offers; choose another method"));
  if (method_.options().rest_of_world.guard >= 0.0)
    for (size_t k = 0; k < infos().size(); ++k) {
      ASSIGN_OR_RETURN(const std::shared_ptr<const SiteData> data, inputs_.sites->Load(k));
      if (data->validation.empty())
        return ConfigError(absl::StrCat("rest_of_world.guard needs validation data, and site ", infos()[k].name,
                                        " has none; set validation to a share, or rest_of_world.guard to off"));
    }
  if (method_.pools_data() && !everybody_here())
    return ConfigError(absl::StrCat("method ", method_.name(), " trains on the data of all sites; choose another across sites"));
  if (method_.pools_data()) {
    ASSIGN_OR_RETURN(pool_, PoolOf(*inputs_.sites));
  }
  for (const SiteInfo& site : infos()) cost_.push_back(site.train_examples);
  for (int64_t round = 1; round <= rounds(); ++round) cohorts_.push_back(DrawCohort(round));
  RETURN_IF_ERROR(Recover());
  ASSIGN_OR_RETURN(const int64_t join, transport_.JoinsAfter());
  if (join > 0 && position_.closed_round == 0 && position_.trained.empty()) RETURN_IF_ERROR(JoinAfter(join));
  if (inputs_.pinned_round)
    for (int64_t k = 0; k < models(); ++k) {
      ASSIGN_OR_RETURN(const std::unique_ptr<Site> site, MakeSite(inputs_, options_, method_, k, InfoOf(k)));
      RETURN_IF_ERROR(RollBack(*inputs_.pinned_round, position_.closed_round, journal_, *site));
    }
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

StatusOr<std::unique_ptr<Site>> MakeSite(const FederationInputs& inputs, const FederationOptions& options, const Method& method,
                                         int64_t index, const SiteInfo& info) {
  ASSIGN_OR_RETURN(std::vector<AdaptedModule> modules, FindAdaptedModules(*inputs.model, options.adapter));
  AdapterConfig adapter = options.adapter;
  method.Configure(adapter);
  if (const std::vector<int64_t>& ranks = options.method.site_ranks; !ranks.empty() && !method.pools_data()) {
    adapter.lora_alpha = options.adapter.scale() * static_cast<double>(ranks[static_cast<size_t>(index)]);  // one scale for all
    adapter.r = ranks[static_cast<size_t>(index)];
  }
  auto site = std::make_unique<Site>(index, info, std::move(modules), adapter, inputs.model->device());
  site->start = {options.seed, site->address, method.init_shared_a()};
  site->adapters.Initialize(site->start);
  site->adapters.mode().branches = method.branches();
  RETURN_IF_ERROR(method.Start(*site));
  return site;
}

StatusOr<RunSummary> RunFederation(const FederationInputs& inputs, const FederationOptions& options, Transport& transport,
                                   RoundJournal& journal, const FederationHooks& hooks) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Method> method, MakeMethod(options.method));
  FEDALT_CHECK(inputs.sites != nullptr && !inputs.sites->sites().empty(), "a federation has sites");
  RETURN_IF_ERROR(method->Check(options));
  ASSIGN_OR_RETURN(std::vector<AdaptedModule> modules, FindAdaptedModules(*inputs.model, options.adapter));
  return Federation(inputs, options, *method, transport, journal, hooks, std::move(modules)).Run();
}

}  // namespace fedalt
