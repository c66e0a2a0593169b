#include "app/config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "app/config_keys.h"
#include "app/presets.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

constexpr char kMinimal[] =
    "model: m\n"
    "data:\n"
    "  train: train_{site}.json\n"
    "  test: test_{site}.jsonl\n"
    "sites: 3\n";

StatusOr<RunConfig> Parse(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  StatusOr<ParsedConfig> parsed = ParseConfig(yaml, overrides, {.name = "c.yaml", .folder = {}, .check_files = false});
  if (!parsed.ok()) return parsed.status();
  return parsed->config;
}

RunConfig MustParse(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  StatusOr<RunConfig> config = Parse(yaml, overrides);
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : RunConfig{};
}

// The message of a configuration that must be refused as kConfig.
std::string Refusal(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  const StatusOr<RunConfig> config = Parse(yaml, overrides);
  if (config.ok()) {
    ADD_FAILURE() << "accepted:\n" << yaml << (overrides.empty() ? "" : overrides[0]);
    return "";
  }
  EXPECT_EQ(KindOf(config.status()), ErrorKind::kConfig) << config.status();
  return std::string(config.status().message());
}

void ExpectRefusal(const std::string& yaml, const std::vector<std::string>& parts) {
  const std::string message = Refusal(yaml);
  for (const std::string& part : parts) EXPECT_NE(message.find(part), std::string::npos) << message << "\nlacks: " << part;
}

void ExpectOverrideRefusal(const std::string& override_text, const std::vector<std::string>& parts) {
  const std::string message = Refusal(kMinimal, {override_text});
  for (const std::string& part : parts) EXPECT_NE(message.find(part), std::string::npos) << message << "\nlacks: " << part;
}

TEST(Config, PublishedExampleIsRead) {
  const RunConfig config = MustParse(
      "model: path/to/Llama-2-7b-hf            # a comment\n"
      "data:\n"
      "  train: data/train/local_training_{site}.json\n"
      "  test:  data/test/local_testing_{site}.jsonl\n"
      "  template: alpaca_short\n"
      "sites: 8\n"
      "validation: 0.1\n"
      "method: fedalt\n"
      "adapter: {r: 4, lora_alpha: 16, lora_dropout: 0.1, target_modules: [q_proj, v_proj]}\n"
      "rest_of_world: {every: 2, weights: samples, aggregate: factors, rescale: off}\n"
      "train: {rounds: 7, local_epochs: 3, batch_size: 2, accumulate: 4, lr: 1e-3, weight_decay: 0.01, max_length: 256, dtype: "
      "bfloat16}\n"
      "eval: {every: 3, beams: 2, max_new_tokens: 40, metrics: [rouge1, loss]}\n"
      "seed: 5\n"
      "\n"
      "keep: {rounds: last 3 and best}\n");
  const FederationOptions& federation = config.federation;
  EXPECT_EQ(config.model, "path/to/Llama-2-7b-hf");
  ASSERT_EQ(config.sites.size(), 8u);
  EXPECT_EQ(config.sites[7].name, "site-7");
  EXPECT_EQ(config.sites[7].train, "data/train/local_training_7.json");
  EXPECT_EQ(config.sites[0].test, "data/test/local_testing_0.jsonl");
  EXPECT_DOUBLE_EQ(config.validation, 0.1);
  EXPECT_EQ(federation.adapter.r, 4);
  EXPECT_DOUBLE_EQ(federation.adapter.lora_alpha, 16);
  EXPECT_DOUBLE_EQ(federation.adapter.lora_dropout, 0.1);
  EXPECT_EQ(federation.method.rest_of_world.every, 2);
  EXPECT_EQ(federation.method.rest_of_world.weights, SiteWeights::kSamples);
  EXPECT_EQ(federation.rounds, 7);
  EXPECT_EQ(federation.train.local_epochs, 3);
  EXPECT_EQ(federation.train.batch_size, 2);
  EXPECT_EQ(federation.train.accumulate, 4);
  EXPECT_DOUBLE_EQ(federation.train.lr, 1e-3);
  EXPECT_DOUBLE_EQ(federation.train.weight_decay, 0.01);
  EXPECT_EQ(config.max_length, 256);
  EXPECT_EQ(federation.eval.options.max_length, 256);
  EXPECT_EQ(config.dtype, "bfloat16");
  EXPECT_EQ(federation.eval.every, 3);
  EXPECT_EQ(federation.eval.options.generate.beams, 2);
  EXPECT_EQ(federation.eval.options.generate.max_new_tokens, 40);
  EXPECT_EQ(config.metrics, (std::vector<std::string>{"rouge1", "loss"}));
  EXPECT_EQ(federation.seed, 5u);
  EXPECT_EQ(config.keep.last, 3);
  EXPECT_TRUE(config.keep.best);
}

TEST(Config, EveryKeyIsReadAndWritten) {
  const std::vector<std::string> overrides = {"data.template=\"Q: {instruction}\\nA:\"",
                                              "data.fields={instruction: question, output: \"the answer\"}",
                                              "validation=0.2",
                                              "preset=none",
                                              "method=fedit_ft",
                                              "adapter.r=3",
                                              "adapter.lora_alpha=7.5",
                                              "adapter.lora_dropout=0.25",
                                              "adapter.target_modules=[up_proj, down_proj]",
                                              "adapter.init_from=start/{site}",
                                              "mixer=fixed:0.25",
                                              "mixer_train=held_out",
                                              "mixer_held_out=0.2",
                                              "mixer_start_round=2",
                                              "init=per_site",
                                              "freeze_a=true",
                                              "rest_of_world.every=3",
                                              "rest_of_world.weights=similarity",
                                              "rest_of_world.gain=6.5",
                                              "rest_of_world.damping=0.3",
                                              "rest_of_world.staleness=0.9",
                                              "rest_of_world.guard=0.25",
                                              "upload=int8",
                                              "rest_of_world.aggregate=svd",
                                              "rest_of_world.rescale=on",
                                              "rest_of_world.include_self=true",
                                              "average.weights=uniform",
                                              "average.server_lr=0.5",
                                              "average.server_momentum=0.4",
                                              "feddpa.inference=instance",
                                              "feddpa.weight=0.75",
                                              "feddpa.samples=3",
                                              "fdlora.sync_every=2",
                                              "fdlora.outer_lr=0.9",
                                              "fdlora.outer_momentum=0.5",
                                              "fdlora.shots=4",
                                              "fdlora.penalty=0.1",
                                              "deploy=validation",
                                              "participation=2",
                                              "train.rounds=9",
                                              "train.local_epochs=2",
                                              "train.steps=12",
                                              "train.batch_size=3",
                                              "train.accumulate=5",
                                              "train.lr=0.002",
                                              "train.weight_decay=0.5",
                                              "train.betas=[0.8, 0.95]",
                                              "train.eps=1e-6",
                                              "train.max_grad_norm=2.5",
                                              "train.schedule=constant",
                                              "train.max_length=128",
                                              "train.too_long=skip",
                                              "train.dtype=float32",
                                              "train.optimizer_state=keep",
                                              "eval.every=0",
                                              "eval.beams=3",
                                              "eval.max_new_tokens=33",
                                              "eval.length_penalty=0.5",
                                              "eval.metrics=[rougeL]",
                                              "eval.ablations=every",
                                              "eval.cross_examples=7",
                                              "eval.batch_size=6",
                                              "eval.generate=false",
                                              "seed=18446744073709551615",
                                              "device=cuda",
                                              "threads=3",
                                              "sites_at_once=2",
                                              "keep.rounds=last 4",
                                              "all_sites=[north, south]",
                                              "contribution.max_norm=50"};
  const RunConfig config = MustParse(kMinimal, overrides);
  const std::string yaml = RunConfigToYaml(config, {});
  const std::string defaults = RunConfigToYaml(MustParse(kMinimal), {});
  for (const ConfigKey& key : ConfigKeys()) {
    const auto given =
        std::find_if(overrides.begin(), overrides.end(), [&](const std::string& text) { return text.starts_with(key.name + "="); });
    ASSERT_NE(given, overrides.end()) << key.name << " is not in this test";
    if (key.name != "preset") {
      EXPECT_NE(key.write(config), key.write(MustParse(kMinimal))) << key.name << " did not change anything";
    }
    RunConfig other = DefaultRunConfig();
    StatusOr<YamlNode> written = ParseYaml(key.write(config), "written");
    ASSERT_TRUE(written.ok()) << key.name;
    EXPECT_TRUE(key.read(*written, other)) << key.name << ": " << key.write(config);
    EXPECT_EQ(key.write(other), key.write(config)) << key.name;
  }
  EXPECT_EQ(RunConfigToYaml(MustParse(yaml), {}), yaml);
  EXPECT_EQ(RunConfigToYaml(MustParse(defaults), {}), defaults);
  EXPECT_NE(defaults, yaml);
}

TEST(Config, ResolvedPresetsReadBackUnchanged) {
  for (const std::string& preset : PresetNames()) {
    const std::string yaml = RunConfigToYaml(MustParse(kMinimal, {"preset=" + preset}), {});
    EXPECT_NE(yaml.find("preset: " + preset), std::string::npos);
    EXPECT_EQ(RunConfigToYaml(MustParse(yaml), {}), yaml);
  }
}

TEST(Config, PresetPaperIsThePublishedMethod) {
  const FederationOptions federation = MustParse(kMinimal, {"preset=paper"}).federation;
  EXPECT_EQ(federation.adapter.r, 8);
  EXPECT_DOUBLE_EQ(federation.adapter.lora_alpha, 32);
  EXPECT_DOUBLE_EQ(federation.adapter.lora_dropout, 0.05);
  EXPECT_EQ(federation.adapter.target_modules, (std::vector<std::string>{"q_proj", "v_proj"}));
  EXPECT_EQ(federation.adapter.mixer, MixerKind::kToken);
  EXPECT_DOUBLE_EQ(federation.adapter.rest_of_world_gain, 1.0);
  EXPECT_FALSE(federation.adapter.freeze_a);
  EXPECT_FALSE(federation.method.init_shared_a);
  EXPECT_DOUBLE_EQ(federation.method.rest_of_world.damping, 1.0);
  EXPECT_EQ(federation.method.rest_of_world.weights, SiteWeights::kUniform);
  EXPECT_EQ(federation.method.mixer_start_round, 1);
}

TEST(Config, GivenKeysWinOverThePreset) {
  const FederationOptions preset = MustParse(kMinimal, {"preset=recommended_sum"}).federation;
  EXPECT_EQ(preset.adapter.r, 16);
  EXPECT_EQ(preset.adapter.mixer, MixerKind::kNone);
  EXPECT_TRUE(preset.adapter.freeze_a);
  EXPECT_EQ(preset.adapter.rest_of_world_gain, 2.0);
  EXPECT_EQ(preset.adapter.lora_alpha, 64.0);
  const FederationOptions mine = MustParse(kMinimal, {"rest_of_world.gain=5", "adapter.r=4", "preset=recommended_sum"}).federation;
  EXPECT_EQ(mine.adapter.r, 4);
  EXPECT_DOUBLE_EQ(mine.adapter.rest_of_world_gain, 5);
  EXPECT_TRUE(mine.adapter.freeze_a);
}

TEST(Config, RecommendedReadsTheSumOfThoseWhoAreAlike) {
  const FederationOptions preset = MustParse(kMinimal, {"preset=recommended"}).federation;
  EXPECT_EQ(preset.adapter.r, 8);
  EXPECT_EQ(preset.adapter.mixer, MixerKind::kNone);
  EXPECT_FALSE(preset.adapter.freeze_a);
  EXPECT_EQ(preset.adapter.rest_of_world_gain, 1.0);
  EXPECT_TRUE(preset.method.init_shared_a);
  EXPECT_EQ(preset.method.rest_of_world.weights, SiteWeights::kKindred);
  EXPECT_EQ(preset.method.rest_of_world.aggregate, RestOfWorldAggregate::kSvd);
  EXPECT_EQ(preset.method.rest_of_world.damping, 0.3);
}

TEST(Config, OverridesWinAndTheLastOneCounts) {
  const std::string yaml = std::string(kMinimal) + "train:\n  rounds: 4\n  lr: 0.5\nadapter:\n";
  const RunConfig config =
      MustParse(yaml, {"train.rounds=5", "train.rounds=6", "adapter.r=16", "adapter.target_modules=[q_proj,v_proj]", "sites=2"});
  EXPECT_EQ(config.federation.rounds, 6);
  EXPECT_DOUBLE_EQ(config.federation.train.lr, 0.5);
  EXPECT_EQ(config.federation.adapter.r, 16);
  EXPECT_EQ(config.sites.size(), 2u);
}

TEST(Config, NamedSites) {
  const RunConfig config = MustParse(
      "model: m\n"
      "data: {test: 'all_{site}.jsonl'}\n"
      "sites:\n"
      "  - {name: osaka, train: o.json, validation: v.json}\n"
      "  - {name: kyoto, train: 'k_{site}.json', test: k.json}\n");
  ASSERT_EQ(config.sites.size(), 2u);
  EXPECT_EQ(config.sites[0].name, "osaka");
  EXPECT_EQ(config.sites[0].test, "all_0.jsonl");
  EXPECT_EQ(config.sites[0].validation, "v.json");
  EXPECT_EQ(config.sites[1].train, "k_1.json");
  EXPECT_EQ(config.sites[1].test, "k.json");
  EXPECT_TRUE(config.sites[1].validation.empty());
}

TEST(Config, StepsPerRound) {
  const FederationOptions text = MustParse(kMinimal, {"train.steps=18x8,14,2"}).federation;
  EXPECT_EQ(text.rounds, 20);
  ASSERT_EQ(text.round_steps.size(), 20u);
  EXPECT_EQ(text.round_steps[17], 8);
  EXPECT_EQ(text.round_steps[18], 14);
  EXPECT_EQ(text.round_steps[19], 2);
  EXPECT_EQ(MustParse(kMinimal, {"train.steps=[3, 4]", "train.rounds=2"}).federation.round_steps, (std::vector<int64_t>{3, 4}));
  const FederationOptions one = MustParse(kMinimal, {"train.steps=[3]"}).federation;
  EXPECT_EQ(one.round_steps, (std::vector<int64_t>{3}));
  const RunConfig again = MustParse(RunConfigToYaml(MustParse(kMinimal, {"train.steps=[3]"}), {}));
  EXPECT_EQ(again.federation.round_steps, one.round_steps);
  const FederationOptions every = MustParse(kMinimal, {"train.steps=40"}).federation;
  EXPECT_TRUE(every.round_steps.empty());
  EXPECT_EQ(every.train.steps, 40);
  EXPECT_EQ(every.rounds, 20);
  EXPECT_NE(Refusal(kMinimal, {"train.steps=[3, 4]", "train.rounds=3"}).find("train.rounds is 3, but train.steps lists 2"),
            std::string::npos);
  ExpectOverrideRefusal("train.steps=3x", {"train.steps"});
  ExpectOverrideRefusal("train.steps=99999999x1", {"train.steps"});
  ExpectOverrideRefusal("train.steps=[0, 4]", {"train.steps"});
}

TEST(Config, ParticipationTellsCountFromFraction) {
  EXPECT_EQ(MustParse(kMinimal, {"participation=1"}).federation.participation.count, 1);
  const ParticipationOptions all = MustParse(kMinimal, {"participation=1.0"}).federation.participation;
  EXPECT_EQ(all.count, 0);
  EXPECT_DOUBLE_EQ(all.fraction, 1.0);
  EXPECT_DOUBLE_EQ(MustParse(kMinimal, {"participation=0.5"}).federation.participation.fraction, 0.5);
  ExpectOverrideRefusal("participation=0", {"participation is \"0\"", "count of sites"});
  ExpectOverrideRefusal("participation=1.5", {"participation is \"1.5\""});
  ExpectOverrideRefusal("participation=4", {"participation is 4 sites, but there are 3"});
}

TEST(Config, UnknownKeysNameTheNearestAndTheLine) {
  const std::string minimal = kMinimal;
  ExpectRefusal(minimal + "trian: {rounds: 3}\n", {"c.yaml:6", "\"trian.rounds\"", "\"train.rounds\""});
  ExpectRefusal(minimal + "train:\n  rounds: 3\n  learning_rate: 3\n", {"c.yaml:8", "\"train.learning_rate\"", "\"train.lr\""});
  ExpectRefusal(minimal + "rest_of_world: {gian: 3}\n", {"\"rest_of_world.gian\"", "\"rest_of_world.gain\""});
  ExpectRefusal(minimal + "wieght_decay: 3\n", {"\"train.weight_decay\""});
  ExpectRefusal(minimal + "lr: 3\n", {"\"lr\"", "\"train.lr\""});
  ExpectRefusal(minimal + "sede: 3\n", {"\"sede\"", "\"seed\""});
  ExpectRefusal("model: m\nsites:\n  - {name: a, trian: x, test: y}\n", {"c.yaml:3", "\"trian\"", "\"train\""});
  ExpectOverrideRefusal("train.round=3", {"override train.round=3", "\"train.rounds\""});
  ExpectOverrideRefusal("sites.0.train=3", {"unknown key"});
  ExpectOverrideRefusal("train={round: 3}", {"\"train.round\"", "\"train.rounds\""});
}

TEST(Config, WrongValuesSayWhatWasFoundAndExpected) {
  const std::string minimal = kMinimal;
  ExpectRefusal(minimal + "train:\n  rounds: many\n", {"c.yaml:7", "train.rounds is \"many\"", "an integer from 1"});
  ExpectRefusal(minimal + "train:\n  rounds:\n", {"train.rounds has no value"});
  ExpectRefusal(minimal + "train: 5\n", {"train is \"5\"", "a map of keys"});
  ExpectRefusal(minimal + "train: [5]\n", {"train is the list [5]", "a map of keys"});
  ExpectRefusal(minimal + "train: {rounds: [5]}\n", {"train.rounds is the list [5]"});
  ExpectRefusal(minimal + "method: fedavg\n", {"method is \"fedavg\"", "base", "local", "fedit", "fedit_ft", "fedalt", "pooled"});
  ExpectRefusal(minimal + "preset: best\n", {"preset is \"best\"", "none, paper, recommended, recommended_sum"});
  ExpectRefusal("just text\n", {"a map of keys"});
  ExpectRefusal("- a\n", {"a map of keys"});
  ExpectRefusal("", {"model is missing"});
  ExpectRefusal("model: m\n", {"sites is missing"});
  ExpectRefusal("model: [m]\nsites: 1\n", {"model is the list [m]"});
  ExpectRefusal("model: m\nsites: 2\n", {"no train file"});
  ExpectRefusal("model: m\nsites: 2\ndata: {train: a.json, test: b.json}\n", {"c.yaml:3", "\"a.json\"", "{site}"});
  for (const char* wrong : {"train.rounds=0",
                            "train.rounds=3.5",
                            "train.rounds=1e3",
                            "train.rounds=99999999999999999999",
                            "train.lr=0",
                            "train.lr=-1",
                            "train.lr=nan",
                            "train.lr=.inf",
                            "train.lr=inf",
                            "train.lr=1e999",
                            "train.betas=[0.9]",
                            "train.betas=[0.9, 1]",
                            "train.dtype=float16",
                            "train.max_length=4",
                            "adapter.r=0",
                            "adapter.lora_dropout=1",
                            "adapter.target_modules=[]",
                            "adapter.target_modules=[q_proj, q_proj]",
                            "adapter.target_modules=[[q]]",
                            "mixer=fixed:2",
                            "mixer=fixed:",
                            "mixer=scalar",
                            "init=random",
                            "freeze_a=maybe",
                            "rest_of_world.damping=0",
                            "rest_of_world.gain=-1",
                            "rest_of_world.staleness=0",
                            "rest_of_world.guard=-0.5",
                            "rest_of_world.guard=nan",
                            "upload=float16",
                            "rest_of_world.aggregate=mean",
                            "rest_of_world.rescale=2",
                            "mixer_held_out=0",
                            "average.server_momentum=1",
                            "feddpa.inference=dynamic",
                            "fdlora.sync_every=0",
                            "deploy=best",
                            "eval.beams=0",
                            "eval.metrics=[bleu]",
                            "eval.generate=1",
                            "device=gpu",
                            "seed=-1",
                            "threads=0",
                            "sites_at_once=none",
                            "keep.rounds=best",
                            "keep.rounds=last",
                            "keep.rounds=last 0",
                            "keep.rounds=last 2 and worst",
                            "sites=0",
                            "sites=-1",
                            "sites=99999999",
                            "validation=1",
                            "data.template=chatml",
                            "data.template={instruction}",
                            "data.template=",
                            "data.fields=question",
                            "data.fields={instruction: [a]}",
                            "data.fields={instruction: a, output: a}",
                            "data.fields={question: instruction}",
                            "train.too_long=drop",
                            "eval.max_new_tokens=512",
                            "adapter.init_from=",
                            "data.train=[a]"}) {
    ExpectOverrideRefusal(wrong, {"expected"});
  }
}

TEST(Config, ASiteMayHaveItsOwnNamesForFields) {
  const RunConfig config = MustParse(
      "model: m\ndata: {fields: {instruction: question}}\nsites:\n  - {name: a, train: a, test: b}\n"
      "  - {name: b, train: c, test: d, fields: {output: answer, tag: topic}}\n  - {name: c, train: e, test: f, fields: {}}\n");
  EXPECT_EQ(config.sites[0].fields.instruction, "question");
  EXPECT_EQ(config.sites[1].fields, (FieldNames{"", "", "answer", "topic"}));
  EXPECT_EQ(config.sites[2].fields, FieldNames());
  const RunConfig again = MustParse(RunConfigToYaml(config, {}));
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(again.sites[i].fields, config.sites[i].fields) << i;
}

TEST(Config, SiteNamesMustBeSafeFolderNames) {
  const auto with_name = [](const std::string& name) {
    return "model: m\nsites:\n  - {name: " + name + ", train: a, test: b}\n  - {name: x, train: c, test: d}\n";
  };
  for (const char* name : {"../up", "a/b", "..", "''", "'a b'", ".hidden"}) ExpectRefusal(with_name(name), {"c.yaml:3"});
  ExpectRefusal(with_name("mean"), {"c.yaml:3", "the name of a site is \"mean\"", "give it another name"});
  ExpectRefusal(with_name("my site"), {"c.yaml:3", "the name of a site is \"my site\"", "letters"});
  ExpectRefusal(with_name("x"), {"c.yaml:4", "two sites are named \"x\""});
}

TEST(Config, BrokenYamlIsRefusedWithItsLine) {
  ExpectRefusal("model: m\nsites: [1, 2\n", {"c.yaml:2"});
  ExpectRefusal("model: m\nsites: 2\ndata: {train: a_{site}.json, test: b}\n", {"c.yaml:", "{site} needs quotes"});
  ExpectRefusal("model: m\n\tsites: 2\n", {"c.yaml:2", "a tab"});
  ExpectRefusal("model: m\nmodel: n\n", {"c.yaml:2", "\"model\" is given twice", "c.yaml:1"});
  ExpectRefusal(std::string(kMinimal) + "train: {rounds: 2, rounds: 3}\n", {"c.yaml:6", "\"rounds\" is given twice"});
  ExpectRefusal("a: &x [1]\nb: *x\n", {"c.yaml:2", "alias"});
  ExpectRefusal("a: !!python/object:os.system x\n", {"c.yaml:1", "tag"});
  ExpectRefusal("model: m\n---\nmodel: n\n", {"more than one YAML document"});
  ExpectRefusal(std::string("model: m\0", 9), {"zero byte"});
  ExpectRefusal("? [a]\n: b\n", {"a key must be plain text"});
  ExpectRefusal("~: b\n", {"key is empty"});
  ExpectRefusal(std::string(5000, '['), {"c.yaml:1"});
  ExpectRefusal("a: " + std::string(2000, '{'), {"c.yaml:1"});
  std::string lists, maps;
  for (int i = 0; i < 400; ++i) {
    lists += "- ";
    maps += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  }
  ExpectRefusal(lists, {"c.yaml:1", "nested more than 16 deep"});
  ExpectRefusal(maps, {"c.yaml:17", "nested more than 16 deep"});
  ExpectRefusal(std::string(2'000'000, ' '), {"bytes"});
  std::string many = "a: [";
  for (int i = 0; i < 250'000; ++i) many += "1,";
  ExpectRefusal(many + "]\n", {"more than"});
  ExpectOverrideRefusal("train.rounds", {"key=value"});
  ExpectOverrideRefusal("=3", {"key=value"});
  ExpectOverrideRefusal("train.rounds=[1", {"override train.rounds=[1"});
}

TEST(Config, BillionLaughsIsRefusedAtOnce) {
  std::string bomb = "a: &a [x, x]\n";
  for (char c = 'b'; c < 'z'; ++c) {
    const char previous = static_cast<char>(c - 1);
    bomb += std::string(1, c) + ": &" + c + " [*" + previous + ", *" + previous + "]\n";
  }
  ExpectRefusal(bomb, {"c.yaml:2", "alias"});
}

TEST(Config, ValidationShareAndFileExcludeEachOther) {
  const std::string yaml =
      "model: m\nsites: 2\nvalidation: 0.1\ndata: {train: 't_{site}', test: 'u_{site}', validation: 'v_{site}'}\n";
  ExpectRefusal(yaml, {"validation holds out a share", "one of the two"});
}

TEST(Config, QuotedTextSurvives) {
  for (const std::string& text :
       {std::string("plain"), std::string("with space"), std::string("a: b"), std::string("\"q\" \\ back"), std::string("null"),
        std::string("~"), std::string("- x"), std::string("#c"), std::string("tab\there\nline"), std::string("ümläut 漢字"),
        std::string("{site}"), std::string(" lead"), std::string("*a"), std::string("1e3")}) {
    const StatusOr<YamlNode> node = ParseYaml("k: " + YamlQuote(text) + "\n", "t");
    ASSERT_TRUE(node.ok()) << text << node.status();
    ASSERT_NE(node->Find("k"), nullptr);
    EXPECT_EQ(node->Find("k")->kind, YamlNode::Kind::kScalar) << text;
    EXPECT_EQ(node->Find("k")->text, text);
  }
}

TEST(Config, EveryKeyIsDocumented) {
  std::ifstream file(fs::path(FEDALT_SOURCE) / "docs" / "configuration.md");
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  ASSERT_FALSE(text.empty());
  for (const std::string& key : KnownKeyNames()) EXPECT_NE(text.find("`" + key + "`"), std::string::npos) << key;
}

}  // namespace
}  // namespace fedalt
