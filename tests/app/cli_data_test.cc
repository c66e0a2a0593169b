// fedalt data by the real program: what it writes, that fedalt run takes it as it is, what stats say of it, and how wrong use ends.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "app/cli_process.h"
#include "base/hash.h"
#include "data/dataset.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ProcessResult;
using testing::TestFolder;

class CliData : public ::testing::Test {
 protected:
  void SetUp() override { testing::WriteTinyRun(folder_); }

  ProcessResult Run(const std::vector<std::string>& arguments) { return testing::RunInProcess(folder_, arguments); }
  json Parse(const std::vector<std::string>& arguments) {
    const ProcessResult result = Run(arguments);
    EXPECT_EQ(result.code, 0) << result.err;
    json object = json::parse(result.out, nullptr, false);
    EXPECT_TRUE(object.is_object()) << result.out;
    return object;
  }
  void ExpectError(const std::vector<std::string>& arguments, int code, const std::string& part) {
    const ProcessResult result = Run(arguments);
    EXPECT_EQ(result.code, code) << result.err;
    EXPECT_TRUE(result.err.starts_with("fedalt: ")) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err << "lacks: " << part;
    EXPECT_EQ(result.out, "");
  }
  std::vector<Example> Read(const std::string& file) {
    auto examples = ReadExamples(folder_.path() / file);
    EXPECT_TRUE(examples.ok()) << examples.status();
    return std::move(examples).value_or(std::vector<Example>{});
  }
  /// Every file below a folder with its bytes.
  std::map<std::string, std::string> Bytes(const std::string& name) {
    std::map<std::string, std::string> bytes;
    for (const auto& entry : fs::recursive_directory_iterator(folder_.path() / name)) {
      if (entry.is_regular_file()) bytes[fs::relative(entry.path(), folder_.path() / name).string()] = testing::Slurp(entry.path());
    }
    return bytes;
  }

  TestFolder folder_;
};

/// dolly: two categories, short texts of words that the tiny tokenizer knows.
std::string Dolly(int n) {
  std::string text;
  for (int i = 0; i < n; ++i)
    text += json{{"instruction", "what is the sound of a cat " + std::to_string(i)},
                 {"context", i % 3 ? "" : "the cow"},
                 {"response", i % 2 ? "meow" : "moo"},
                 {"category", i % 5 ? "open_qa" : "closed_qa"}}
                .dump() +
            "\n";
  return text;
}

TEST_F(CliData, SplitByTaskWritesAPartition) {
  folder_.Write("dolly.jsonl", Dolly(60));
  const json split =
      Parse({"data", "split", "dolly.jsonl", "--by", "task", "--sites-per-task", "2", "--out", "out", "--format", "json"});
  EXPECT_EQ(split["out"], (folder_.path() / "out").string());
  ASSERT_EQ(split["sites"].size(), 4u);
  std::set<std::string> prompts;
  size_t all = 0;
  for (size_t k = 0; k < 4; ++k) {
    const json& site = split["sites"][k];
    const auto train = Read("out/train/local_training_" + std::to_string(k) + ".json");
    const auto test = Read("out/test/local_testing_" + std::to_string(k) + ".jsonl");
    EXPECT_EQ(site["train"], train.size());
    EXPECT_EQ(site["test"], test.size());
    EXPECT_EQ(site["task"], k < 2 ? "closed_qa" : "open_qa");
    for (const auto* part : {&train, &test}) {
      for (const Example& example : *part) {
        EXPECT_EQ(example.tag, site["task"]);
        prompts.insert(example.instruction);
        ++all;
        const int i = std::stoi(example.instruction.substr(std::string("what is the sound of a cat ").size()));
        EXPECT_EQ(example.input, i % 3 ? "" : "the cow");
        EXPECT_EQ(example.output, i % 2 ? "meow" : "moo");
      }
    }
  }
  EXPECT_EQ(all, 60u);
  EXPECT_EQ(prompts.size(), 60u);
  const json written = json::parse(testing::Slurp(folder_.path() / "out/split.json"), nullptr, false);
  EXPECT_EQ(written["sites"], split["sites"]);
  EXPECT_EQ(written["inputs"][0]["file"], "dolly.jsonl");
  EXPECT_EQ(written["inputs"][0]["sha256"], *Sha256OfFile(folder_.path() / "dolly.jsonl"));
  EXPECT_EQ(written["inputs"][0]["examples"], 60);
}

TEST_F(CliData, SameInputsAndSeedSameBytes) {
  folder_.Write("dolly.jsonl", Dolly(60));
  for (const std::vector<std::string>& rule : {std::vector<std::string>{"task"},
                                               {"label", "--sites", "3", "--alpha", "0.3"},
                                               {"random", "--sites", "3", "--limit", "9"}}) {
    const auto split = [&](const std::string& out, const std::string& seed) {
      std::vector<std::string> line = {"data", "split", "dolly.jsonl", "--out", out, "--seed", seed, "--by"};
      line.insert(line.end(), rule.begin(), rule.end());
      EXPECT_EQ(Run(line).code, 0);
      return Bytes(out);
    };
    const std::string name = rule.front();
    const auto first = split(name + "1", "7");
    EXPECT_EQ(first, split(name + "2", "7"));
    EXPECT_NE(first, split(name + "3", "8"));
    EXPECT_EQ(first.size(), rule.front() == "task" ? 6u : 8u);
  }
}

TEST_F(CliData, RunTakesWhatSplitWrote) {
  folder_.Write("dolly.jsonl", Dolly(24));
  ASSERT_EQ(Run({"data", "split", "dolly.jsonl", "--by", "label", "--sites", "2", "--alpha", "0.5", "--out", "data"}).code, 0);
  const ProcessResult without = Run({"run", "data/config.yaml", "--out", "run"});
  EXPECT_EQ(without.code, 4) << without.err;
  EXPECT_NE(without.err.find("path/to/model"), std::string::npos) << without.err;
  const ProcessResult result =
      testing::RunFedalt(folder_, {"run", "data/config.yaml", "model=model", "train.rounds=1", "train.steps=1",
                                   "train.max_length=64", "eval.max_new_tokens=2", "eval.beams=1", "adapter.r=2", "threads=1",
                                   "--out", "run", "--format", "json", "--quiet"});
  ASSERT_EQ(result.code, 0) << result.err;
  const json summary = json::parse(result.out, nullptr, false);
  ASSERT_EQ(summary["sites"].size(), 2u);
  EXPECT_TRUE(summary["mean"]["loss"].is_number());
  EXPECT_TRUE(summary["sites"][0]["by_tag"].is_object());
}

TEST_F(CliData, FilesWithoutTasksAreTasksThemselves) {
  folder_.Write("b/colours.json", R"([{"instruction": "sky", "output": "blue"}, {"instruction": "grass", "output": "green"}])");
  folder_.Write("sounds.json", R"([{"instruction": "cat", "output": "meow"}, {"instruction": "cow", "output": "moo"}])");
  folder_.Write("task7_animals.json",
                "{\n\"Definition\": [\"Name it.\"],\n\"Instances\": [{\"input\": \"red\", \"output\": [\"fox\", \"ant\"]},\n"
                "{\"input\": \"grey\", \"output\": [\"mouse\"]}]}");
  const json split = Parse(
      {"data", "split", "b/colours.json", "sounds.json", "task7_animals.json", "--by", "task", "--out", "out", "--format", "json"});
  ASSERT_EQ(split["sites"].size(), 3u);
  EXPECT_EQ(split["sites"][0]["task"], "colours");
  EXPECT_EQ(split["sites"][2]["task"], "task7_animals");
  const std::vector<Example> train = Read("out/train/local_training_2.json"), test = Read("out/test/local_testing_2.jsonl");
  const Example& fox = train[0].input == "red" ? train[0] : test[0];
  EXPECT_EQ(fox.output, "fox");
  EXPECT_EQ(fox.more_outputs, std::vector<std::string>{"ant"});
  ExpectError({"data", "split", "sounds.json", "--by", "task", "--out", "o"}, 5, "sounds.json: its examples name no task");
  folder_.Write("sounds.jsonl", testing::Slurp(folder_.path() / "sounds.json") + "\n");
  ExpectError({"data", "split", "sounds.json", "sounds.jsonl", "--by", "task", "--out", "o"}, 5, "are both named \"sounds\"");
  folder_.Write("half.json", R"([{"instruction": "a", "output": "b", "task": "t"}, {"instruction": "c", "output": "d"}])");
  ExpectError({"data", "split", "half.json", "sounds.json", "--by", "task", "--out", "o"}, 5,
              "half.json: 1 of 2 examples name no task");
}

// FedDPA keeps one test file for all tasks beside one training file per client (README.md of github.com/Lydia-yang/FedDPA).
TEST_F(CliData, TestExamplesMayComeFromAFileOfTheirOwn) {
  std::string test;
  for (int k = 0; k < 2; ++k) {
    json train = json::array();
    for (int i = 0; i < 6; ++i) {
      const std::string task = "task-" + std::to_string(k);
      train.push_back({{"instruction", "train " + std::to_string(i)}, {"output", "a"}, {"task", task}, {"category", "c"}});
      test += json{{"instruction", "test " + std::to_string(i)}, {"output", "a"}, {"task", task}, {"category", "c"}}.dump() + "\n";
    }
    folder_.Write("8/local_training_" + std::to_string(k) + ".json", train.dump());
  }
  folder_.Write("flan_test.jsonl", test);
  const json split = Parse({"data", "split", "8/local_training_0.json", "8/local_training_1.json", "--test-data", "flan_test.jsonl",
                            "--by", "task", "--sites-per-task", "3", "--out", "out", "--format", "json"});
  ASSERT_EQ(split["sites"].size(), 6u);
  for (size_t k = 0; k < 6; ++k) {
    EXPECT_EQ(split["sites"][k]["train"], 2);
    const auto tests = Read("out/test/local_testing_" + std::to_string(k) + ".jsonl");
    EXPECT_EQ(tests.size(), 2u);
    for (const Example& example : tests) {
      EXPECT_EQ(example.tag, split["sites"][k]["task"]);
      EXPECT_TRUE(example.instruction.starts_with("test"));
    }
  }
  EXPECT_EQ(split["test_inputs"][0]["examples"], 12);
}

TEST_F(CliData, StatsDescribeSitesAndWarnOfLeaks) {
  folder_.Write("test_0.jsonl", testing::Slurp(folder_.path() / "test_0.jsonl") +
                                    "{\"instruction\": \"what is the sound of a cat\", \"output\": \"meow\", \"tag\": \"meow\"}\n");
  const json stats = Parse({"data", "stats", "config.yaml", "--format", "json"});
  ASSERT_EQ(stats["sites"].size(), 2u);
  const json& site = stats["sites"][0];
  EXPECT_EQ(site["site"], "site-0");
  EXPECT_EQ(site["train"]["examples"], 4);
  EXPECT_EQ(site["test"]["examples"], 3);
  EXPECT_FALSE(site.contains("validation"));
  EXPECT_EQ(site["train"]["labels"], 4);
  EXPECT_EQ(site["train"]["most_frequent_labels"].size(), 4u);
  EXPECT_EQ(site["train"]["most_frequent_labels"][0]["share"], 0.25);
  EXPECT_EQ(site["train"]["tags"].size(), 4u);
  EXPECT_EQ(site["train"]["prompt_characters"]["max"], 27);    // "what is the sound of a duck"
  EXPECT_EQ(site["train"]["answer_characters"]["mean"], 4.0);  // meow, woof, moo, quack
  EXPECT_TRUE(site["train"]["prompt_tokens"]["mean"].is_number());
  EXPECT_GE(site["train"]["answer_tokens"]["median"], 2) << "EOS is one of them";
  EXPECT_EQ(site["test"]["prompts_in_train"], 1);
  EXPECT_EQ(site["test_prompts_in_train_of_other_sites"], 1);
  EXPECT_EQ(site["train_prompts_at_other_sites"], 4);
  EXPECT_DOUBLE_EQ(site["label_distance"], 0.5);  // half of all labels, none of the other site's
  EXPECT_DOUBLE_EQ(stats["mean_label_distance"], 0.5);
  ASSERT_EQ(stats["warnings"].size(), 2u) << stats["warnings"];
  EXPECT_EQ(stats["labels"], 8);

  const ProcessResult text = Run({"data", "stats", "config.yaml", "validation=0.25", "model=absent"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_NE(text.out.find("site-1"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("prompt characters"), std::string::npos) << text.out;
  EXPECT_NE(text.err.find("warning: site-0: 1 of 3 test prompts are also training prompts"), std::string::npos) << text.err;
  const json held = Parse({"data", "stats", "config.yaml", "validation=0.25", "model=absent", "--format", "json"});
  EXPECT_EQ(held["sites"][1]["train"]["examples"], 3);
  EXPECT_EQ(held["sites"][1]["validation"]["examples"], 1);
  EXPECT_FALSE(held["sites"][1]["train"].contains("prompt_tokens"));
}

TEST_F(CliData, StatsOfFilesAndOfWhatSplitWrote) {
  folder_.Write("dolly.jsonl", Dolly(40));
  ASSERT_EQ(Run({"data", "split", "dolly.jsonl", "--by", "random", "--sites", "2", "--test", "0.25", "--out", "data"}).code, 0);
  const json of_config = Parse({"data", "stats", "data/config.yaml", "--format", "json"});
  EXPECT_EQ(of_config["sites"][0]["train"]["examples"], 15);
  EXPECT_EQ(of_config["sites"][1]["test"]["examples"], 5);
  EXPECT_EQ(of_config["tags"], 2);
  EXPECT_EQ(of_config["warnings"].size(), 0u);
  const json of_files =
      Parse({"data", "stats", "data/train/local_training_0.json", "data/train/local_training_1.json", "--format", "json"});
  EXPECT_EQ(of_files["sites"][0]["site"], "data/train/local_training_0.json");
  EXPECT_EQ(of_files["mean_label_distance"], of_config["mean_label_distance"]);
}

TEST_F(CliData, WrongUseEndsWithItsCode) {
  folder_.Write("dolly.jsonl", Dolly(10));
  const auto split = [](std::vector<std::string> more) {
    std::vector<std::string> line = {"data", "split", "dolly.jsonl", "--out", "out"};
    line.insert(line.end(), more.begin(), more.end());
    return line;
  };
  ExpectError({"data"}, 2, "subcommand");
  ExpectError({"data", "splt"}, 2, "(see fedalt data --help)");
  ExpectError(split({}), 2, "--by");
  ExpectError(split({"--by", "size"}), 2, "--by");
  ExpectError(split({"--by", "label"}), 2, "--by label needs --sites N");
  ExpectError(split({"--by", "random", "--sites", "0"}), 2, "--sites");
  ExpectError(split({"--by", "random", "--sites", "6"}), 2, "there are 10 examples for 6 sites of at least 2");
  ExpectError(split({"--by", "label", "--sites", "2", "--alpha", "0"}), 2, "--alpha is 0; expected a number above 0");
  ExpectError(split({"--by", "label", "--sites", "2", "--alpha", "-1"}), 2, "--alpha is -1");
  ExpectError(split({"--by", "label", "--sites", "2", "--alpha", "nan"}), 2, "--alpha");
  ExpectError(split({"--by", "random", "--sites", "2", "--alpha", "1"}), 2, "--alpha belongs to --by label");
  ExpectError(split({"--by", "random", "--sites", "2", "--test", "1"}), 2, "--test is 1; expected a share");
  ExpectError(split({"--by", "random", "--sites", "2", "--sites-per-task", "2"}), 2, "--sites-per-task belongs to --by task");
  ExpectError(split({"--by", "random", "--sites", "2", "--test-data", "x"}), 2, "--test-data belongs to --by task");
  ExpectError(split({"--by", "task", "--sites", "3"}), 2, "--sites is 3, but 2 tasks of 1 site each make 2");
  ExpectError(split({"--by", "random", "--sites", "2", "--frobnicate"}), 2, "(see fedalt data split --help)");
  ExpectError({"data", "split", "absent.json", "--by", "task", "--out", "out"}, 5, "absent.json: cannot be opened");
  ExpectError({"data", "split", "model", "--by", "task", "--out", "out"}, 5, "model: is not a regular file");
  folder_.Write("odd.jsonl", Dolly(1) + "{\"question\": \"a\", \"answer\": \"b\"}\n");
  ExpectError(
      {"data", "split", "odd.jsonl", "--by", "task", "--out", "out"}, 5,
      "odd.jsonl: line 2: example 1 has no field \"instruction\" (it has \"answer\", \"question\"); expected \"instruction\" and");
  folder_.Write("copy.jsonl", Dolly(10));
  ExpectError({"data", "split", "dolly.jsonl", "copy.jsonl", "--by", "task", "--out", "out"}, 5, "hold the same bytes");
  ExpectError({"data", "split", "dolly.jsonl", "--by", "task", "--out", "model"}, 6, "is not an empty directory");
  ExpectError({"data", "split", "dolly.jsonl", "--by", "task", "--out", "config.yaml"}, 6, "is not an empty directory");
  EXPECT_FALSE(fs::exists(folder_.path() / "out"));

  ExpectError({"data", "stats"}, 2, "(see fedalt data stats --help)");
  ExpectError({"data", "stats", "absent.yaml"}, 3, "absent.yaml");
  ExpectError({"data", "stats", "config.yaml", "train.round=1"}, 3, "\"train.rounds\"");
  ExpectError({"data", "stats", "config.yaml", "sites=3"}, 5, "train_2.jsonl");
  ExpectError({"data", "stats", "absent.json"}, 5, "absent.json");
  ExpectError({"data", "stats", "dolly.jsonl", "config.yaml"}, 2,
              "config.yaml is a configuration; expected it as the first argument");
}

}  // namespace
}  // namespace fedalt
