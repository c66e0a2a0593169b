// Data as people have them, by the real program: fields of their own names, fields that nothing uses, empty and long answers, test
// prompts that are training prompts, templates of one's own, prompts without answers.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "app/cli_process.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ProcessResult;
using testing::TestFolder;

constexpr char kTemplate[] = "Q: {instruction}\nA:";

std::string Record(const std::string& question, const std::string& answer, const std::string& rest = "") {
  return "{\"question\": \"" + question + "\", \"answer\": \"" + answer + "\"" + rest + "}\n";
}

class OwnData : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::WriteTinyRun(folder_);
    for (int i = 0; i < 40; ++i) endless_ += "the sound of a cat ";
    folder_.Write("train_0.jsonl", Record("what is the sound of a cat", "meow", R"(, "system": "be a cat", "id": 1)") +
                                       Record("what is the sound of a dog", "woof", R"(, "system": "", "id": 2)") +
                                       Record("what is the sound of a cow", "") + Record("what is the sound of a duck", endless_));
    folder_.Write("test_0.jsonl", Record("what is the sound of a dog", "woof") + Record("what is the sound of the cat", "meow"));
    folder_.Write("config.yaml",
                  "model: model\n"
                  "data:\n"
                  "  template: \"Q: {instruction}\\nA:\"\n"
                  "sites:\n"
                  "  - {name: asker, train: train_0.jsonl, test: test_0.jsonl, fields: {instruction: question, output: answer}}\n"
                  "  - {name: teller, train: train_1.jsonl, test: test_1.jsonl}\n"
                  "adapter: {r: 2}\n"
                  "train: {rounds: 1, steps: 2, batch_size: 2, max_length: 64, lr: 0.01}\n"
                  "eval: {every: 1, beams: 1, max_new_tokens: 4}\n"
                  "threads: 1\n");
  }

  ProcessResult Run(const std::vector<std::string>& arguments, const std::string& input = "") {
    return testing::RunFedalt(folder_, arguments, input);
  }
  json Parse(const ProcessResult& result) {
    EXPECT_EQ(result.code, 0) << result.err;
    json object = json::parse(result.out, nullptr, false);
    EXPECT_TRUE(object.is_object()) << result.out;
    return object;
  }

  TestFolder folder_;
  std::string endless_;  ///< an answer of some hundred tokens
};

void ExpectParts(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) EXPECT_NE(text.find(part), std::string::npos) << text << "lacks: " << part;
}

TEST_F(OwnData, NothingThatTheySayIsIgnoredInSilence) {
  const std::vector<std::string> remarks = {
      "train_0.jsonl: 2 fields are used by nothing: \"id\" in 2 records, \"system\" in 1 record",
      "1 of 4 training answers are empty", "1 of 4 training answers fill train.max_length 64",
      "1 of 2 test prompts are also training prompts"};
  const ProcessResult run = Run({"run", "config.yaml", "--out", "out"});
  EXPECT_EQ(run.code, 0) << run.err;
  ExpectParts(run.err, remarks);
  for (const char* part :
       {"used by nothing", "answers are empty", "fill train.max_length"})  // once: the other site's data are ordinary
    EXPECT_EQ(run.err.find(part), run.err.rfind(part)) << run.err;
  const ProcessResult doctor = Run({"doctor", "config.yaml"});
  EXPECT_EQ(doctor.code, 0) << doctor.err;
  ExpectParts(doctor.out, remarks);
  const ProcessResult stats = Run({"data", "stats", "config.yaml"});
  EXPECT_EQ(stats.code, 0) << stats.err;
  ExpectParts(stats.err, remarks);
}

TEST_F(OwnData, LongAnswersAreSkippedOrRefusedOnDemand) {
  const ProcessResult skipped = Run({"run", "config.yaml", "train.too_long=skip", "--out", "skip"});
  EXPECT_EQ(skipped.code, 0) << skipped.err;
  ExpectParts(skipped.err, {"1 of 4 training examples are left out"});
  const ProcessResult refused = Run({"run", "config.yaml", "train.too_long=refuse", "--out", "refuse"});
  EXPECT_EQ(refused.code, 5) << refused.err;
  ExpectParts(refused.err, {"train_0.jsonl: example 3", "train.too_long"});
  EXPECT_FALSE(fs::exists(folder_.path() / "refuse"));
  folder_.Write("test_1.jsonl", "{\"instruction\": \"what is the sound of the cat\", \"output\": \"" + endless_ + "\"}\n");
  const ProcessResult nothing_left = Run({"run", "config.yaml", "train.too_long=skip", "--out", "nothing"});
  EXPECT_EQ(nothing_left.code, 5) << nothing_left.err;
  ExpectParts(nothing_left.err, {"test_1.jsonl", "train.too_long"});
}

TEST_F(OwnData, TheTemplateAndTheNamesStayWithTheRun) {
  ASSERT_EQ(Run({"run", "config.yaml", "--out", "out", "--quiet"}).code, 0);
  EXPECT_EQ(Run({"run", "--resume", "out", "--quiet"}).code, 0);
  const json run = json::parse(testing::Slurp(folder_.path() / "out/summary.json"));
  const json eval = Parse(Run({"eval", "out", "--format", "json"}));
  EXPECT_EQ(eval["sites"][0]["loss"], run["sites"][0]["loss"]);

  // Prompts in the site's own fields, without answers; the template is the run's, or a given one.
  folder_.Write("prompts.jsonl", "\xef\xbb\xbf{\"question\": \"what is the sound of a cow\"}\n");
  const std::vector<std::string> of_asker = {"generate", "out", "--site", "asker", "--format", "json"};
  const auto answer = [&](std::vector<std::string> more, const std::string& input = "") {
    more.insert(more.begin(), of_asker.begin(), of_asker.end());
    const json answers = Parse(Run(more, input));
    return answers.contains("answers") ? answers["answers"].at(0) : json();
  };
  const json from_file = answer({"--input", "prompts.jsonl"});
  EXPECT_EQ(from_file["prompt"], "what is the sound of a cow");
  EXPECT_EQ(from_file, answer({"--prompt", "what is the sound of a cow"}));
  EXPECT_EQ(from_file, answer({"--prompt", "what is the sound of a cow", "--template", kTemplate}));
  // The whole prompt by hand.
  const json by_hand = answer({"--prompt", "Q: what is the sound of a cow\nA:", "--template", "none"});
  EXPECT_EQ(by_hand["answer"], from_file["answer"]);
  EXPECT_EQ(by_hand["prompt_tokens"], from_file["prompt_tokens"]);
  // A byte order mark is no part of the first line.
  folder_.Write("prompts.txt", "\xef\xbb\xbfwhat is the sound of a cow\r\n");
  EXPECT_EQ(answer({"--input", "prompts.txt"}), from_file);
  EXPECT_EQ(answer({}, "\xef\xbb\xbfwhat is the sound of a cow"), from_file);
  const ProcessResult unnamed = Run({"generate", "out", "--site", "teller", "--input", "prompts.jsonl"});
  EXPECT_EQ(unnamed.code, 5) << unnamed.err;
  ExpectParts(unnamed.err, {"prompts.jsonl: line 1", "\"question\""});

  ASSERT_EQ(Run({"export", "out", "--site", "asker", "--out", "exported"}).code, 0);
  ExpectParts(testing::Slurp(folder_.path() / "exported/README.md"), {"    Q: {instruction}\n    A:\n", "    {input}\n"});
}

TEST_F(OwnData, TemplatesAndMetricsThatAreNotKnownAreNamed) {
  const auto refusal = [this](const std::string& key) {
    const ProcessResult result = testing::RunInProcess(folder_, {"run", "config.yaml", key, "--out", "out"});
    EXPECT_EQ(result.code, 3) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    return result.err;
  };
  ExpectParts(refusal("data.template=alpaca-short"), {"\"alpaca-short\"", "alpaca_short, alpaca, plain, none"});
  ExpectParts(refusal("data.template=\"Q: {question}\""), {"\"{question}\"", "{instruction}"});
  ExpectParts(refusal("eval.metrics=[rouge1, bleu]"), {"[rouge1, bleu]", "loss, rouge1, rouge2, rougeL, exact_match"});
  ExpectParts(refusal("data.fields={question: instruction}"), {"data.fields", "{instruction: question, output: answer}"});
  ExpectParts(refusal("train.too_long=drop"), {"cut, skip, refuse"});
}

}  // namespace
}  // namespace fedalt
