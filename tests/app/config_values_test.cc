// What YAML texts mean here: values as people write them, and errors at the place where they stand.
#include <gtest/gtest.h>

#include "app/config.h"
#include "app/yaml_tree.h"

namespace fedalt {
namespace {

constexpr char kMinimal[] =
    "model: m\n"
    "data: {train: 'train_{site}.json', test: 'test_{site}.jsonl'}\n"
    "sites: 3\n";

StatusOr<RunConfig> Parse(const std::string& more) {
  auto parsed = ParseConfig(kMinimal + more, {}, {.name = "c.yaml", .folder = {}, .check_files = false});
  if (!parsed.ok()) return parsed.status();
  return parsed->config;
}

std::string Refusal(const std::string& more) {
  const auto config = Parse(more);
  EXPECT_FALSE(config.ok()) << more;
  if (config.ok()) return "";
  EXPECT_EQ(KindOf(config.status()), ErrorKind::kConfig);
  return std::string(config.status().message());
}

// As YAML 1.1 (PyYAML) and 1.2 write them.
TEST(ConfigValues, BooleansInEveryWordOfYaml) {
  for (const char* word : {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"}) {
    const auto config = Parse(absl::StrCat("freeze_a: ", word, "\nrest_of_world: {rescale: ", word, "}\n"));
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_TRUE(config->federation.adapter.freeze_a) << word;
    EXPECT_TRUE(config->federation.method.rest_of_world.rescale) << word;
  }
  for (const char* word : {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"}) {
    const auto config = Parse(absl::StrCat("eval: {generate: ", word, ", ablations: ", word, "}\nrest_of_world: {guard: ", word,
                                           ", aggregate: ", word, "}\n"));
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_FALSE(config->federation.eval.options.generate_answers) << word;
    EXPECT_EQ(config->federation.eval.ablations, AblationSchedule::kOff) << word;
    EXPECT_LT(config->federation.method.rest_of_world.guard, 0.0) << word;
    EXPECT_EQ(config->federation.method.rest_of_world.aggregate, RestOfWorldAggregate::kOff) << word;
  }
  for (const char* word : {"1", "0", "y", "t", "ja", "tru", "\"\""})
    EXPECT_NE(Refusal(absl::StrCat("freeze_a: ", word, "\n")).find("true or false (also yes or no, on or off)"), std::string::npos);
}

TEST(ConfigValues, NumbersInEveryFormOfYamlThatIsDecimal) {
  for (const auto& [text, value] : std::vector<std::pair<std::string, double>>{{"+1e-3", 1e-3},
                                                                               {"1e-3", 1e-3},
                                                                               {"1E-3", 1e-3},
                                                                               {"1.0e-3", 1e-3},
                                                                               {".001", 1e-3},
                                                                               {"+.5", 0.5},
                                                                               {"2.", 2.0},
                                                                               {"1.0e+0", 1.0},
                                                                               {"0.5", 0.5},
                                                                               {"'0.25'", 0.25}}) {
    const auto config = Parse("train: {lr: " + text + "}\n");
    ASSERT_TRUE(config.ok()) << text << config.status();
    EXPECT_DOUBLE_EQ(config->federation.train.lr, value) << text;
  }
  for (const auto& [text, value] :
       std::vector<std::pair<std::string, int64_t>>{{"+5", 5}, {"1_000", 1000}, {"10", 10}, {"\"7\"", 7}}) {
    const auto config = Parse("train: {rounds: " + text + "}\n");
    ASSERT_TRUE(config.ok()) << text << config.status();
    EXPECT_EQ(config->federation.rounds, value) << text;
  }
  EXPECT_EQ(Parse("seed: 1_0\n")->federation.seed, 10u);
  for (const char* text : {"+-5", "++5", "5_", "_5", "1__0", "0x10", "0o10", "5 rounds", "1,000", "+", "1e3", "5.0"})
    EXPECT_NE(Refusal(absl::StrCat("train: {rounds: '", text, "'}\n")).find("an integer from 1"), std::string::npos) << text;
  EXPECT_NE(Refusal("train: {rounds: 010}\n").find("leading zero"), std::string::npos);
}

TEST(ConfigValues, AnErrorStandsAtTheLineOfItsKey) {
  EXPECT_TRUE(Refusal("train:\n  lr: 0.1\n  rounds:\n  steps: 2\n").starts_with("c.yaml:6: train.rounds has no value"));
  EXPECT_TRUE(Refusal("seed:\n\n# more\nthreads: 1\n").starts_with("c.yaml:4: seed has no value"));
  EXPECT_TRUE(Refusal("method:\n").starts_with("c.yaml:4: method has no value"));
  EXPECT_TRUE(Refusal("train:\n  betas:\n    - 0.9\n    -\n").starts_with("c.yaml:5: train.betas"));
  EXPECT_TRUE(Refusal("lora:\n  color: 4\n").starts_with("c.yaml:4: unknown key \"lora\""));
  EXPECT_TRUE(Refusal("mixer: [a\nthreads: 1\n").starts_with("c.yaml:4: what begins here in brackets has no end"));
  EXPECT_TRUE(Refusal("mixer: \"token\nthreads: 1\n").starts_with("c.yaml:4: the quote that begins here has no end"));
  EXPECT_TRUE(Refusal("mixer: 'token\nthreads: 1\n").starts_with("c.yaml:4: the quote that begins here has no end"));
  const auto list = ParseYaml("sites:\n  - {name: a}\n  -  # later\n  - {name: b}\n", "c.yaml");
  ASSERT_TRUE(list.ok());
  EXPECT_EQ(list->Find("sites")->items[1].where, "c.yaml:3");
}

TEST(ConfigValues, ATabIsCalledATab) {
  for (const char* text : {"train:\n\trounds: 2\n", "train:\n  lr: 1\n\trounds: 2\n", "train:\n  \trounds: 2\n"}) {
    const std::string message = Refusal(text);
    EXPECT_NE(message.find("begins with a tab"), std::string::npos) << message;
  }
  EXPECT_TRUE(Refusal("train:\n  lr: 1\n\trounds: 2\n").starts_with("c.yaml:6:"));
  EXPECT_TRUE(Parse("train: {\n\trounds: 2\n}\n").ok()) << "inside brackets a tab is a blank";
}

TEST(ConfigValues, QuotesThatEndAreTaken) {
  const auto node = ParseYaml("\xef\xbb\xbf{\"\xc3\xa4\xc3\xa4\": \"x \\\" y\", k: 'it''s', \xc3\xb6: \"\"}\r\n", "t");
  ASSERT_TRUE(node.ok()) << node.status();
  ASSERT_EQ(node->entries.size(), 3u);
  EXPECT_EQ(node->entries[0].first, "\xc3\xa4\xc3\xa4");
  EXPECT_EQ(node->entries[0].second.text, "x \" y");
  EXPECT_EQ(node->entries[1].second.text, "it's");
  EXPECT_EQ(node->entries[2].second.text, "");
}

}  // namespace
}  // namespace fedalt
