// A whole tiny run by the real program: run, resume, eval, generate, export, and what each puts on stdout.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "app/cli_process.h"
#include "model/device.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ProcessResult;
using testing::RunFedalt;
using testing::TestFolder;

json Parse(const ProcessResult& result) {
  EXPECT_EQ(result.code, 0) << result.err;
  json object = json::parse(result.out, nullptr, false);
  EXPECT_TRUE(object.is_object()) << "stdout is not one JSON object: " << result.out;
  EXPECT_EQ(result.out.find("nan"), std::string::npos);
  return object;
}

// One run serves all tests of this file.
class CliRun : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TestFolder;
    testing::WriteTinyRun(*folder_);
    result_ = new ProcessResult(RunFedalt(*folder_, {"run", "config.yaml", "--out", "out", "--format", "json"}));
  }
  static void TearDownTestSuite() {
    delete result_;
    delete folder_;
  }
  static ProcessResult Run(const std::vector<std::string>& arguments, const std::string& input = "") {
    return RunFedalt(*folder_, arguments, input);
  }

  static TestFolder* folder_;
  static ProcessResult* result_;
};
TestFolder* CliRun::folder_ = nullptr;
ProcessResult* CliRun::result_ = nullptr;

TEST_F(CliRun, PrintsOneJsonObject) {
  const json summary = Parse(*result_);
  EXPECT_EQ(summary["method"], "fedalt");
  EXPECT_EQ(summary["preset"], "none");
  EXPECT_EQ(summary["rounds"], 2);
  EXPECT_EQ(summary["run_dir"], (folder_->path() / "out").string());
  ASSERT_EQ(summary["sites"].size(), 2u);
  for (const json& site : summary["sites"]) {
    for (const char* key : {"site", "train_loss", "loss", "rouge1", "rouge2", "rougeL", "exact_match", "tokens_per_s", "bytes_up",
                            "bytes_down", "deployed", "before_swap", "after_swap", "ablations", "by_tag"}) {
      EXPECT_TRUE(site.contains(key)) << key;
    }
    EXPECT_TRUE(site["loss"].is_number());
    EXPECT_TRUE(site["ablations"].contains("rest_of_world_off"));
  }
  EXPECT_TRUE(summary["mean"].contains("loss"));
  EXPECT_TRUE(summary["worst"].contains("site"));
  EXPECT_NE(result_->err.find("memory"), std::string::npos) << "messages belong on stderr";
}

TEST_F(CliRun, ResolvedConfigurationStartsTheSameRunAgain) {
  const json again = Parse(Run({"run", "out/config.yaml", "--out", "again", "--format", "json", "--quiet"}));
  json first = json::parse(result_->out, nullptr, false);
  ASSERT_EQ(again["sites"].size(), first["sites"].size());
  for (size_t i = 0; i < again["sites"].size(); ++i) EXPECT_EQ(again["sites"][i]["loss"], first["sites"][i]["loss"]);
  EXPECT_EQ(testing::Slurp(folder_->path() / "again/config.yaml"), testing::Slurp(folder_->path() / "out/config.yaml"));
}

TEST_F(CliRun, SaysWhatItsBitsDependOn) {
  const json environment = json::parse(testing::Slurp(folder_->path() / "out/environment.json"), nullptr, false);
  const bool cuda = DescribeCuda().devices > 0;
  EXPECT_EQ(environment.value("device", ""), cuda ? "cuda" : "cpu") << environment;
  EXPECT_EQ(environment.value("device_name", "") == "CPU", !cuda);
  EXPECT_NE(environment.value("libtorch", ""), "");
  EXPECT_NE(testing::Slurp(folder_->path() / "out/config.yaml").find("device: auto"), std::string::npos);
}

TEST_F(CliRun, AFinishedRunSaysSo) {
  const ProcessResult result = Run({"run", "--resume", "out", "--format", "json"});
  EXPECT_EQ(Parse(result)["sites"], json::parse(result_->out)["sites"]);
  EXPECT_NE(result.err.find("is finished"), std::string::npos) << result.err;
}

TEST_F(CliRun, TheTableNamesEverySite) {
  const ProcessResult result = Run({"run", "--resume", "out"});
  EXPECT_EQ(result.code, 0);
  for (const char* part : {"site-0", "site-1", "mean", "rouge1 %", "exact_match %", "others help", "worst site"}) {
    EXPECT_NE(result.out.find(part), std::string::npos) << result.out << "lacks: " << part;
  }
}

TEST_F(CliRun, ADirectoryInUseIsRefused) {
  const ProcessResult result = Run({"run", "config.yaml", "--out", "out"});
  EXPECT_EQ(result.code, 6);
  EXPECT_NE(result.err.find("--resume"), std::string::npos) << result.err;
}

TEST_F(CliRun, ResumeRefusesChangedInputs) {
  TestFolder folder;
  testing::WriteTinyRun(folder);
  ASSERT_EQ(RunFedalt(folder, {"run", "config.yaml", "--out", "out", "--quiet"}).code, 0);
  fs::remove(folder.path() / "out/summary.json");
  folder.Write("test_1.jsonl", "{\"instruction\": \"a\", \"output\": \"b\"}\n");
  const ProcessResult result = RunFedalt(folder, {"run", "--resume", "out"});
  EXPECT_EQ(result.code, 5);
  EXPECT_NE(result.err.find("test_1.jsonl has changed"), std::string::npos) << result.err;
}

TEST_F(CliRun, EvalRepeatsTheScoresOfTheRun) {
  const json eval = Parse(Run({"eval", "out", "--format", "json"}));
  const json run = json::parse(result_->out);
  ASSERT_EQ(eval["sites"].size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_DOUBLE_EQ(eval["sites"][i]["loss"].get<double>(), run["sites"][i]["loss"].get<double>());
    EXPECT_EQ(eval["sites"][i]["exact_match"], run["sites"][i]["exact_match"]);
  }
  const json other = Parse(Run({"eval", "out", "--site", "site-1", "--data", "test_0.jsonl", "--format", "json"}));
  ASSERT_EQ(other["sites"].size(), 1u);
  EXPECT_NE(other["sites"][0]["loss"], run["sites"][1]["loss"]);
  const ProcessResult text = Run({"eval", "out"});
  EXPECT_NE(text.out.find("test loss"), std::string::npos) << text.out;
  const ProcessResult unknown = Run({"eval", "out", "--site", "site-9"});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_NE(unknown.err.find("site-0, site-1"), std::string::npos) << unknown.err;
}

TEST_F(CliRun, GenerateAnswers) {
  const std::string prompt = "what is the sound of a cat";
  const ProcessResult streamed = Run({"generate", "out", "--site", "site-0", "--prompt", prompt});
  EXPECT_EQ(streamed.code, 0) << streamed.err;
  const json whole = Parse(Run({"generate", "out", "--site", "site-0", "--prompt", prompt, "--format", "json"}));
  ASSERT_EQ(whole["answers"].size(), 1u);
  EXPECT_EQ(streamed.out, whole["answers"][0]["answer"].get<std::string>() + "\n");
  EXPECT_LE(whole["answers"][0]["new_tokens"].get<int>(), 4);
  const json two = Parse(Run({"generate", "out", "--site", "site-1", "--beams", "2", "--max-new-tokens", "3", "--format", "json"},
                             prompt + "\n\n" + prompt + "\n"));
  ASSERT_EQ(two["answers"].size(), 2u);
  EXPECT_EQ(two["answers"][0]["answer"], two["answers"][1]["answer"]);
  const json examples =
      Parse(Run({"generate", "out", "--site", "site-1", "--input", "test_1.jsonl", "--alone", "individual", "--format", "json"}));
  EXPECT_EQ(examples["answers"].size(), 2u);
  const std::vector<std::string> bare = {"generate", "--model", "model", "--prompt",         "a cat", "--temperature",
                                         "1",        "--seed",  "3",     "--max-new-tokens", "6"};
  const ProcessResult sampled = Run(bare);
  EXPECT_EQ(sampled.code, 0) << sampled.err;
  EXPECT_EQ(sampled.out, Run(bare).out) << "the same seed gives the same text";
}

TEST_F(CliRun, ExportIsReadableAndMergedIsNear) {
  const ProcessResult result = Run({"export", "out", "--site", "site-0", "--out", "exported", "--merged"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.out.find("merged (approximate): loss"), std::string::npos) << result.out;
  for (const char* name : {"individual", "rest_of_world", "individual-weighted", "rest_of_world-weighted", "merged"}) {
    EXPECT_TRUE(fs::exists(folder_->path() / "exported" / name / "adapter_model.safetensors")) << name;
  }
  EXPECT_TRUE(fs::exists(folder_->path() / "exported/mixer.safetensors"));
  const std::string readme = testing::Slurp(folder_->path() / "exported/README.md");
  EXPECT_NE(readme.find("APPROXIMATE"), std::string::npos) << readme;
  EXPECT_EQ(testing::Slurp(folder_->path() / "exported/fedalt_model.py"),
            testing::Slurp(FEDALT_SOURCE "/src/app/export_loader.py"));
  const json options = json::parse(testing::Slurp(folder_->path() / "exported/fedalt_model.json"), nullptr, false);
  EXPECT_EQ(options.value("mixer", ""), "token") << options;
  EXPECT_EQ(options.value("scale", 0.0), 16.0) << options;
  EXPECT_EQ(options.value("gain", 0.0), 1.0) << options;
  // The bare model with the exported adapter says what the run says with that adapter alone.
  const std::string prompt = "what is the sound of a cow";
  for (const std::string branch : {"individual", "rest_of_world"}) {
    const ProcessResult of_run = Run({"generate", "out", "--site", "site-0", "--alone", branch, "--prompt", prompt});
    const ProcessResult of_export = Run({"generate", "--model", "model", "--adapter", "exported/" + branch, "--template",
                                         "alpaca_short", "--max-new-tokens", "4", "--prompt", prompt});
    EXPECT_EQ(of_export.code, 0) << of_export.err;
    EXPECT_EQ(of_export.out, of_run.out) << branch;
  }
  EXPECT_EQ(Run({"export", "out", "--site", "site-0", "--out", "exported"}).code, 6);
}

TEST_F(CliRun, MergedIsExactWithoutAMixer) {
  ASSERT_EQ(Run({"run", "config.yaml", "preset=recommended", "--out", "recommended", "--quiet"}).code, 0);
  const ProcessResult result = Run({"export", "recommended", "--site", "site-1", "--out", "exact", "--merged"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_TRUE(result.out.find("(difference +0.0000)") != std::string::npos ||
              result.out.find("(difference -0.0000)") != std::string::npos)
      << result.out;
}

TEST_F(CliRun, ExportKnowsWhatAMethodsModelIsMadeOf) {
  const auto run = [](const std::string& name, std::vector<std::string> keys) {
    keys.insert(keys.begin(), {"run", "config.yaml", "--out", name, "--quiet"});
    EXPECT_EQ(Run(keys).code, 0) << name;
    return Run({"export", name, "--site", "site-0", "--out", "of-" + name, "--merged"});
  };
  // Of another rank, and without a mixer between: both exact as one LoRA.
  for (const auto& [name, keys] :
       {std::pair<std::string, std::vector<std::string>>{
            "products", {"rest_of_world.aggregate=exact", "mixer=none", "rest_of_world.include_self=true"}},
        {"merged-mixer", {"mixer=merged"}}}) {
    const ProcessResult result = run(name, keys);
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_NE(result.out.find("0.0000)"), std::string::npos) << result.out;
  }
  for (const std::string method : {"flora", "fedex"}) {
    const ProcessResult refused = run(method, {"method=" + method});
    EXPECT_EQ(refused.code, 2) << method;
    EXPECT_NE(refused.err.find("fold.safetensors"), std::string::npos) << refused.err;
    EXPECT_FALSE(fs::exists(folder_->path() / ("of-" + method))) << "what is refused leaves nothing";
    EXPECT_EQ(Run({"export", method, "--site", "site-0", "--out", "fold-" + method}).code, 0);
    EXPECT_TRUE(fs::exists(folder_->path() / ("fold-" + method) / "fold.safetensors"));
  }
  const ProcessResult fused = run("fused", {"method=fdlora"});
  EXPECT_EQ(fused.code, 2);
  EXPECT_NE(fused.err.find("individual/ is the whole model"), std::string::npos) << fused.err;
  EXPECT_EQ(Run({"export", "fused", "--site", "site-0", "--out", "one", "--base-model-id", "some/base"}).code, 0);
  const json config = json::parse(testing::Slurp(folder_->path() / "one/individual/adapter_config.json"), nullptr, false);
  EXPECT_EQ(config.value("base_model_name_or_path", ""), "some/base");
  EXPECT_EQ(testing::Slurp(folder_->path() / "one/README.md").find(folder_->path().string()), std::string::npos)
      << "no path of this machine where a name was given";
  EXPECT_FALSE(fs::exists(folder_->path() / "one/rest_of_world"));
}

TEST_F(CliRun, EveryMethodRuns) {
  for (const std::string method : {"base", "local", "fedit", "fedit_ft", "pooled"}) {
    const json summary = Parse(
        Run({"run", "config.yaml", "method=" + method, "train.rounds=1", "--out", "m-" + method, "--format", "json", "--quiet"}));
    EXPECT_EQ(summary["method"], method);
    EXPECT_TRUE(summary["mean"]["loss"].is_number()) << method;
    if (method != "base" && method != "pooled") continue;  // those whose models are kept in another way
    const ProcessResult eval = Run({"eval", "m-" + method, "--site", "site-1", "--format", "json"});
    EXPECT_EQ(Parse(eval)["sites"][0]["loss"], summary["sites"][1]["loss"]) << method;
  }
}

}  // namespace
}  // namespace fedalt
