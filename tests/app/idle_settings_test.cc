// Settings that cannot have an effect are told, and those that are told really have none.
#include "app/idle_settings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "app/cli_process.h"
#include "base/hash.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

constexpr char kMinimal[] =
    "model: m\n"
    "data: {train: 'train_{site}.json', test: 'test_{site}.jsonl'}\n"
    "sites: 3\n";

ParsedConfig Parse(const std::string& yaml, const std::vector<std::string>& overrides, ConfigPlace place) {
  const ConfigSource source = {
      .name = "c.yaml", .folder = {}, .check_files = false, .own_overrides = place == ConfigPlace::kFederation};
  auto parsed = ParseConfig(yaml, overrides, source);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.ok() ? *parsed : ParsedConfig{};
}

/// Key -> why.
std::map<std::string, std::string> Idle(const std::vector<std::string>& overrides, const std::string& yaml = kMinimal,
                                        ConfigPlace place = ConfigPlace::kOneMachine) {
  std::map<std::string, std::string> idle;
  for (const IdleSetting& setting : FindIdleSettings(Parse(yaml, overrides, place), place))
    EXPECT_TRUE(idle.emplace(setting.key, setting.why).second) << setting.key << " is told twice";
  return idle;
}

TEST(IdleSettings, AreToldWithTheirReason) {
  const struct {
    std::vector<std::string> overrides;
    std::string key, why;
  } cases[] = {{{"feddpa.weight=0.3"}, "feddpa.weight", "method is fedalt"},
               {{"method=feddpa", "feddpa.samples=3"}, "feddpa.samples", "feddpa.inference is fixed"},
               {{"method=fedit", "rest_of_world.gain=2"}, "rest_of_world.gain", "method is fedit"},
               {{"method=fedit", "mixer=layer"}, "mixer", "method is fedit"},
               {{"method=local", "fdlora.shots=3"}, "fdlora.shots", "method is local"},
               {{"mixer_held_out=0.2"}, "mixer_held_out", "mixer_train is all"},
               {{"mixer=none", "mixer_start_round=2"}, "mixer_start_round", "mixer: token"},
               {{"average.weights=uniform"}, "average.weights", "method fedalt"},
               {{"method=ffa", "average.server_lr=0.5"}, "average.server_lr", "fedit_ft"},
               {{"method=ffa", "freeze_a=true"}, "freeze_a", "never trains A"},
               {{"method=base", "train.lr=0.1"}, "train.lr", "trains nothing"},
               {{"method=pooled", "participation=0.5"}, "participation", "all sites"},
               {{"method=local", "upload=int8"}, "upload", "nothing is sent"},
               {{"rest_of_world.aggregate=off", "rest_of_world.damping=0.5"}, "rest_of_world.damping", "aggregate is off"},
               {{"train.rounds=2", "rest_of_world.every=3"}, "rest_of_world.every", "fewer rounds"},
               {{"rest_of_world.staleness=0.5"}, "rest_of_world.staleness", "every round"},
               {{"deploy=validation"}, "deploy", "no validation data"},
               {{"train.steps=5", "train.local_epochs=2"}, "train.local_epochs", "train.steps"},
               {{"train.steps=[5, 6]", "train.local_epochs=2"}, "train.local_epochs", "train.steps"},
               {{"eval.generate=false", "eval.beams=2"}, "eval.beams", "eval.generate is false"},
               {{"eval.generate=false", "eval.metrics=[rouge1]"}, "eval.metrics", "only the loss"},
               {{"eval.beams=1", "eval.length_penalty=2"}, "eval.length_penalty", "eval.beams is 1"},
               {{"method=fedit", "eval.ablations=every"}, "eval.ablations", "no second adapter"},
               {{"sites=1", "eval.cross_examples=4"}, "eval.cross_examples", "2 to 64"},
               {{"keep.rounds=last 1 and best"}, "keep.rounds", "no round is the best"}};
  for (const auto& [overrides, key, why] : cases) {
    const auto idle = Idle(overrides);
    ASSERT_EQ(idle.count(key), 1u) << key << " with " << overrides.front();
    EXPECT_NE(idle.at(key).find(why), std::string::npos) << key << ": " << idle.at(key);
    EXPECT_EQ(idle.size(), 1u) << key;
  }
}

TEST(IdleSettings, WhatHasAnEffectIsNotTold) {
  for (const std::vector<std::string>& overrides : std::vector<std::vector<std::string>>{
           {},
           {"rest_of_world.gain=2", "mixer=layer", "mixer_train=held_out", "mixer_held_out=0.2", "init=per_site", "upload=int8"},
           {"method=feddpa", "feddpa.inference=instance", "feddpa.samples=3", "eval.ablations=every", "average.weights=uniform"},
           {"method=fedit", "average.server_lr=0.5", "average.weights=uniform", "freeze_a=true"},
           {"deploy=validation", "validation=0.1", "keep.rounds=last 1 and best"},
           {"rest_of_world.staleness=0.5", "participation=0.5"},
           {"train.local_epochs=2", "eval.beams=2", "eval.length_penalty=2"},
           {"eval.generate=false", "eval.metrics=[loss]", "eval.max_new_tokens=3"},
           {"keep.rounds=all"},
           {"preset=recommended", "method=fedit"}})
    EXPECT_TRUE(Idle(overrides).empty()) << (overrides.empty() ? "nothing" : overrides.front()) << ": "
                                         << Idle(overrides).begin()->first;
}

TEST(IdleSettings, OneSentenceForAReason) {
  const std::string yaml = std::string(kMinimal) + "rest_of_world: {gain: 2, damping: 0.5}\nmixer: layer\nfeddpa:\n  weight: 0.5\n";
  const std::vector<std::string> sentences =
      IdleSentences(FindIdleSettings(Parse(yaml, {"method=fedit"}, ConfigPlace::kOneMachine), ConfigPlace::kOneMachine));
  ASSERT_EQ(sentences.size(), 2u);
  EXPECT_EQ(sentences[0],
            "mixer, rest_of_world.damping, rest_of_world.gain have no effect: only method fedalt reads it, and method is fedit");
  EXPECT_EQ(sentences[1], "feddpa.weight has no effect: only method feddpa reads it, and method is fedit");
}

TEST(IdleSettings, AResolvedConfigurationGivesNothingByItself) {
  const std::string resolved =
      RunConfigToYaml(Parse(kMinimal, {}, ConfigPlace::kOneMachine).config, {{"/x", std::string(64, 'a')}});
  EXPECT_TRUE(Idle({}, resolved).empty());
  EXPECT_EQ(Idle({"feddpa.weight=0.3"}, resolved).count("feddpa.weight"), 1u) << "an override is somebody's";
}

TEST(IdleSettings, DataThatEverySiteNamesItself) {
  const std::string yaml =
      "model: m\ndata: {train: t.json, test: u.json}\nsites: [{name: a, train: x}, {name: b, train: y, test: z}]\n";
  const auto idle = Idle({}, yaml);
  EXPECT_EQ(idle.count("data.train"), 1u);
  EXPECT_EQ(idle.count("data.test"), 0u) << "a has none of its own";
}

TEST(IdleSettings, OfAFederationAcrossMachines) {
  const auto idle = Idle({"sites=[{name: a, train: -, test: -}]"}, std::string(kMinimal) + "rest_of_world: {staleness: 0.5}\n",
                         ConfigPlace::kFederation);
  EXPECT_EQ(idle.size(), 3u) << "a site may be late, so staleness counts";
  for (const char* key : {"sites", "data.train", "data.test"}) EXPECT_EQ(idle.count(key), 1u) << key;
}

// The claim itself: a run with idle settings, all changed at once, leaves the same checkpoints, publications and answers.
class IdleRuns : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new testing::TestFolder;
    testing::WriteTinyRun(*folder_);
  }
  static void TearDownTestSuite() { delete folder_; }

  static std::map<std::string, std::string> Run(const std::vector<std::string>& overrides, const std::string& out) {
    std::vector<std::string> line = {"run", "config.yaml", "--out", out, "--quiet", "train.lr=0.01"};
    line.insert(line.end(), overrides.begin(), overrides.end());
    const auto result = testing::RunInProcess(*folder_, line);
    EXPECT_EQ(result.code, 0) << result.err;
    std::map<std::string, std::string> files;
    for (const char* part : {"rounds", "predictions"}) {
      if (!fs::exists(folder_->path() / out / part)) continue;
      for (const auto& entry : fs::recursive_directory_iterator(folder_->path() / out / part))
        if (entry.is_regular_file() && entry.path().filename() != "result.json")  // it holds times
          files[fs::relative(entry.path(), folder_->path() / out).string()] = HexOf(Sha256(testing::Slurp(entry.path())));
    }
    return files;
  }
  static testing::TestFolder* folder_;
};
testing::TestFolder* IdleRuns::folder_ = nullptr;

TEST_F(IdleRuns, IdleSettingsChangeNothing) {
  const std::vector<std::string> others = {
      "rest_of_world.gain=3", "rest_of_world.damping=0.5",    "mixer=layer", "mixer_start_round=2", "init=per_site",
      "fdlora.outer_lr=0.1",  "rest_of_world.weights=samples"};
  const std::vector<std::pair<std::vector<std::string>, std::vector<std::string>>> cases = {
      {{"method=fedit"}, {"feddpa.weight=0.9", "eval.ablations=every"}},
      {{"method=feddpa"}, {"feddpa.samples=2", "average.server_lr=0.5"}},
      {{"method=local"}, {"upload=int8", "average.weights=uniform"}},
      {{"method=ffa"}, {"freeze_a=true", "average.server_momentum=0.5"}},
      {{"method=fedalt", "rest_of_world.aggregate=off", "mixer=none"},
       {"rest_of_world.gain=3", "rest_of_world.damping=0.5", "mixer_start_round=2", "upload=int8", "average.weights=uniform"}},
      {{"method=fedalt"}, {"mixer_held_out=0.4", "rest_of_world.staleness=1.0", "train.local_epochs=7", "eval.length_penalty=3"}}};
  int number = 0;
  for (const auto& [base, idle] : cases) {
    std::vector<std::string> changed = base;
    changed.insert(changed.end(), idle.begin(), idle.end());
    if (base.size() == 1 && base[0] != "method=fedalt") changed.insert(changed.end(), others.begin(), others.end());
    const std::string out = "run-" + std::to_string(++number);
    const auto before = Run(base, out);
    EXPECT_GT(before.size(), 4u);
    EXPECT_EQ(Run(changed, out + "-idle"), before) << base.front();
  }
}

}  // namespace
}  // namespace fedalt
