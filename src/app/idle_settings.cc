#include "app/idle_settings.h"

#include <absl/strings/str_join.h>
#include <absl/strings/str_replace.h>

#include <algorithm>

#include "app/config_keys.h"
#include "base/log.h"

namespace fedalt {
namespace {

constexpr size_t kMostCrossSites = 64;  // run/cross_site.cc

/// What the reasons look at.
struct Facts {
  const ParsedConfig& parsed;
  ConfigPlace place;

  const RunConfig& config() const { return parsed.config; }
  const FederationOptions& federation() const { return config().federation; }
  const MethodOptions& method() const { return federation().method; }
  const RestOfWorldOptions& rest_of_world() const { return method().rest_of_world; }
  size_t sites() const { return config().sites.size(); }
  bool one_machine() const { return place == ConfigPlace::kOneMachine; }

  bool MethodIs(std::initializer_list<std::string_view> names) const {
    return std::find(names.begin(), names.end(), method().name) != names.end();
  }
  bool HasValidation() const {
    return config().validation > 0.0 || !one_machine() ||
           std::any_of(config().sites.begin(), config().sites.end(),
                       [](const SiteFiles& site) { return !site.validation.empty(); });
  }
  bool EverybodyTakesPart() const {
    const ParticipationOptions& participation = federation().participation;
    return participation.count > 0 ? participation.count == static_cast<int64_t>(sites()) : participation.fraction >= 1.0;
  }
  bool MixerIsTrained() const {
    return federation().adapter.mixer == MixerKind::kToken || federation().adapter.mixer == MixerKind::kLayer;
  }
  bool Generates() const { return federation().eval.options.generate_answers; }
};

struct Reason {
  std::vector<std::string_view> keys;  ///< "feddpa." stands for all that begin so
  bool (*holds)(const Facts& facts);
  std::string_view text;  ///< $method: its name
};

/// The first that holds for a key is told.
const std::vector<Reason>& Reasons() {
  static const std::vector<Reason> reasons = {
      {{"sites"}, [](const Facts& f) { return !f.one_machine(); }, "the roster names the sites of a federation across machines"},
      {{"data.train", "data.test", "data.validation"},
       [](const Facts& f) { return !f.one_machine(); },
       "each site names its data in its own site.yaml"},
      {{"data.train"},
       [](const Facts& f) { return f.parsed.replaced.count("data.train") > 0; },
       "every site has a train file of its own"},
      {{"data.test"},
       [](const Facts& f) { return f.parsed.replaced.count("data.test") > 0; },
       "every site has a test file of its own"},
      {{"data.validation"},
       [](const Facts& f) { return f.parsed.replaced.count("data.validation") > 0; },
       "every site has a validation file of its own"},
      {{"train.rounds", "train.local_epochs", "train.steps", "train.batch_size", "train.accumulate", "train.lr",
        "train.weight_decay", "train.betas", "train.eps", "train.max_grad_norm", "train.schedule", "train.optimizer_state",
        "adapter.", "freeze_a", "participation", "upload", "average."},
       [](const Facts& f) { return f.MethodIs({"base"}); },
       "method base trains nothing"},
      {{"rest_of_world.", "mixer", "mixer_train", "mixer_held_out", "mixer_start_round", "init", "deploy"},
       [](const Facts& f) { return !f.MethodIs({"fedalt"}); },
       "only method fedalt reads it, and method is $method"},
      {{"feddpa."}, [](const Facts& f) { return !f.MethodIs({"feddpa"}); }, "only method feddpa reads it, and method is $method"},
      {{"feddpa.samples"}, [](const Facts& f) { return !f.method().feddpa.instance_wise; }, "feddpa.inference is fixed"},
      {{"fdlora."}, [](const Facts& f) { return !f.MethodIs({"fdlora"}); }, "only method fdlora reads it, and method is $method"},
      {{"average.weights"},
       [](const Facts& f) {
         return f.MethodIs({"local", "fdlora", "fedalt", "pooled"});
       },
       "method $method does not average by weights of its sites"},
      {{"average.server_lr", "average.server_momentum"},
       [](const Facts& f) {
         return !f.MethodIs({"fedit", "fedit_ft"});
       },
       "only methods fedit and fedit_ft have an optimizer at the server, and method is $method"},
      {{"freeze_a"}, [](const Facts& f) { return f.MethodIs({"ffa"}); }, "method ffa never trains A"},
      {{"participation"}, [](const Facts& f) { return f.MethodIs({"pooled"}); }, "method pooled trains on the data of all sites"},
      {{"upload"},
       [](const Facts& f) {
         return f.MethodIs({"local", "pooled"});
       },
       "with method $method nothing is sent"},
      {{"rest_of_world.every", "rest_of_world.weights", "rest_of_world.gain", "rest_of_world.damping", "rest_of_world.staleness",
        "rest_of_world.guard", "rest_of_world.rescale", "rest_of_world.include_self", "upload", "deploy"},
       [](const Facts& f) { return f.rest_of_world().aggregate == RestOfWorldAggregate::kOff; },
       "rest_of_world.aggregate is off, so nothing is sent or read"},
      {{"rest_of_world.every"},
       [](const Facts& f) { return f.rest_of_world().every > f.federation().rounds; },
       "there are fewer rounds, so nothing is ever sent or read"},
      {{"rest_of_world.staleness"},
       [](const Facts& f) { return f.one_machine() && f.EverybodyTakesPart(); },
       "every site takes part in every round (participation)"},
      {{"mixer_train", "mixer_held_out", "mixer_start_round"},
       [](const Facts& f) { return !f.MixerIsTrained(); },
       "only mixer: token and mixer: layer are trained"},
      {{"mixer_held_out"}, [](const Facts& f) { return !f.method().mixer_held_out; }, "mixer_train is all"},
      {{"deploy"},
       [](const Facts& f) { return f.method().deploy == Deploy::kValidation && !f.HasValidation(); },
       "there are no validation data, so sites use trained_together"},
      {{"train.local_epochs"},
       [](const Facts& f) { return f.federation().train.steps > 0 || !f.federation().round_steps.empty(); },
       "train.steps counts steps instead"},
      {{"eval.beams", "eval.length_penalty"}, [](const Facts& f) { return !f.Generates(); }, "eval.generate is false"},
      {{"eval.length_penalty"},
       [](const Facts& f) { return f.federation().eval.options.generate.beams == 1; },
       "eval.beams is 1, and a greedy answer has nothing to be compared with"},
      {{"eval.metrics"},
       [](const Facts& f) {
         const std::vector<std::string>& metrics = f.config().metrics;
         return !f.Generates() &&
                std::any_of(metrics.begin(), metrics.end(), [](const std::string& metric) { return metric != "loss"; });
       },
       "eval.generate is false, so of the metrics only the loss is measured"},
      {{"eval.ablations"},
       [](const Facts& f) {
         return !f.MethodIs({"fedalt", "feddpa"});
       },
       "method $method has no second adapter to be taken away"},
      {{"eval.cross_examples"},
       [](const Facts& f) {
         return f.MethodIs({"base", "pooled"});
       },
       "with method $method every site has the same model"},
      {{"eval.cross_examples"},
       [](const Facts& f) { return f.one_machine() && (f.sites() == 1 || f.sites() > kMostCrossSites); },
       "it is for 2 to 64 sites"},
      {{"keep.rounds"},
       [](const Facts& f) {
         const KeepOptions& keep = f.config().keep;
         return keep.best && keep.last < kKeepAllRounds && !f.HasValidation();
       },
       "there are no validation data, so no round is the best; its last N still counts"}};
  return reasons;
}

bool IsMeant(std::string_view key, const std::string& given) {
  return given == key || (key.ends_with('.') && given.starts_with(key));
}

}  // namespace

std::vector<IdleSetting> FindIdleSettings(const ParsedConfig& parsed, ConfigPlace place) {
  const Facts facts{parsed, place};
  std::vector<IdleSetting> idle;
  std::set<std::string> told;
  for (const Reason& reason : Reasons()) {
    if (!reason.holds(facts)) continue;
    const std::string why = absl::StrReplaceAll(std::string(reason.text), {{"$method", parsed.config.federation.method.name}});
    for (const std::string& given : parsed.given) {
      const auto meant = [&given](std::string_view key) { return IsMeant(key, given); };
      if (std::any_of(reason.keys.begin(), reason.keys.end(), meant) && told.insert(given).second) idle.push_back({given, why});
    }
  }
  return idle;
}

std::vector<std::string> IdleSentences(const std::vector<IdleSetting>& settings) {
  std::vector<std::string> sentences;
  for (size_t begin = 0, end = 0; begin < settings.size(); begin = end) {
    std::vector<std::string> keys;
    for (end = begin; end < settings.size() && settings[end].why == settings[begin].why; ++end) keys.push_back(settings[end].key);
    sentences.push_back(
        absl::StrCat(absl::StrJoin(keys, ", "), keys.size() == 1 ? " has" : " have", " no effect: ", settings[begin].why));
  }
  return sentences;
}

void WarnOfIdleSettings(const ParsedConfig& parsed, ConfigPlace place) {
  for (const std::string& sentence : IdleSentences(FindIdleSettings(parsed, place))) LogWarning(sentence);
}

}  // namespace fedalt
