// The command line of the real program: help, usage errors, exit codes; nothing here trains.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "app/cli_process.h"
#include "model/device.h"

namespace fedalt {
namespace {

using testing::ProcessResult;
using testing::RunFedalt;
using testing::TestFolder;

// One line on stderr, which begins with the program's name and holds `part`; nothing on stdout.
void ExpectError(const ProcessResult& result, int code, const std::string& part) {
  EXPECT_EQ(result.code, code) << result.err;
  EXPECT_TRUE(result.err.starts_with("fedalt: ")) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_NE(result.err.find(part), std::string::npos) << result.err << "lacks: " << part;
  EXPECT_EQ(result.out, "");
}

class CliUsage : public ::testing::Test {
 protected:
  ProcessResult Run(const std::vector<std::string>& arguments) { return testing::RunInProcess(folder_, arguments); }
  TestFolder folder_;
};

TEST_F(CliUsage, VersionIsThatOfTheBuild) {
  const ProcessResult result = RunFedalt(folder_, {"--version"});
  EXPECT_EQ(result.code, 0);
  const std::string cmake = testing::Slurp(std::filesystem::path(FEDALT_SOURCE) / "CMakeLists.txt");
  const size_t begin = cmake.find("VERSION ", cmake.find("project(")) + 8;
  EXPECT_EQ(result.out, "fedalt " + cmake.substr(begin, cmake.find(' ', begin) - begin) + "\n");
  EXPECT_EQ(result.err, "");
}

TEST_F(CliUsage, EveryCommandHasHelpWithAnExample) {
  std::vector<std::string> commands = {"run", "compare", "eval", "generate", "export", "report", "data", "doctor"};
#ifdef FEDALT_NET
  for (const char* command : {"keys", "status", "list", "show", "pull", "stop", "pause", "resume", "erase"})
    commands.push_back(command);
#endif
  for (const std::string& command : commands) {
    const ProcessResult result = Run({command, "--help"});
    EXPECT_EQ(result.code, 0);
    EXPECT_NE(result.out.find("fedalt " + command + " "), std::string::npos) << result.out;
    EXPECT_NE(result.out.find("Examples:"), std::string::npos);
    EXPECT_EQ(result.err, "");
  }
  EXPECT_NE(Run({"--help"}).out.find("fedalt run config.yaml"), std::string::npos);
}

std::set<std::string> Matches(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator match(text.begin(), text.end(), regex), end; match != end; ++match) found.insert((*match)[1]);
  return found;
}

// A command, and each of the commands below it.
std::vector<std::vector<std::string>> WithParts(const std::string& command) {
  if (command == "data") return {{"data"}, {"data", "split"}, {"data", "stats"}};
  if (command == "audit") return {{"audit"}, {"audit", "show"}, {"audit", "verify"}};
  if (command == "keys") {
    return {{"keys"}, {"keys", "init"}, {"keys", "server"}, {"keys", "site"}, {"keys", "revoke"}, {"keys", "show"}};
  }
  return {{command}};
}

TEST_F(CliUsage, ManPageAndCompletionKnowWhatTheProgramKnows) {
#ifndef FEDALT_NET
  GTEST_SKIP() << "man page and completion are those of the whole program";
#endif
  const std::filesystem::path packaging = std::filesystem::path(FEDALT_SOURCE) / "packaging";
  const std::string completion = testing::Slurp(packaging / "fedalt.bash");
  const std::string man = testing::Slurp(packaging / "fedalt.1");
  const std::string help = Run({"--help"}).out;
  const std::set<std::string> commands =
      Matches(help.substr(help.find("Subcommands:"), help.find("Examples:") - help.find("Subcommands:")), "\n  ([a-z]+) ");
  EXPECT_EQ(Matches(man, R"(\n\\fB([a-z]+)\\fR)"), commands);
  EXPECT_EQ(Matches(completion, "\n    ([a-z]+)\\) words="), commands);
  std::set<std::string> options = {"--version"};
  for (const std::string& command : commands) {
    std::set<std::string> own;
    for (const std::vector<std::string>& part : WithParts(command)) {
      std::vector<std::string> line = part;
      line.push_back("--help");
      const std::string text = Run(line).out;
      own.merge(Matches(text.substr(0, text.find("Examples:")), "\n  (?:-h,)?(--[a-z-]+)"));
    }
    options.insert(own.begin(), own.end());
    const size_t begin = completion.find(command + ") words=");
    EXPECT_EQ(Matches(completion.substr(begin, completion.find(";;", begin) - begin), "(--[a-z-]+)"), own) << command;
  }
  EXPECT_EQ(Matches(std::regex_replace(man, std::regex(R"(\\f[BIR]|\\)"), ""), "(--[a-z-]+)"), options);
}

TEST_F(CliUsage, UsageErrorsExitWith2) {
  ExpectError(Run({}), 2, "no command is given");
  ExpectError(RunFedalt(folder_, {"rnu"}), 2, "unknown command \"rnu\"; the nearest is \"run\"");
  ExpectError(Run({"--frobnicate"}), 2, "--frobnicate");
  ExpectError(Run({"run"}), 2, "configuration file");
  ExpectError(Run({"run", "--frobnicate"}), 2, "--frobnicate");
  ExpectError(Run({"run", "c.yaml", "--format", "xml"}), 2, "--format");
  ExpectError(Run({"run", "c.yaml", "--learning_rate", "1e-3"}), 2, "key=value, and it is called \"train.lr\" here");
  ExpectError(Run({"doctor", "c.yaml", "--train.lr=1e-3"}), 2, "train.lr=VALUE");
  ExpectError(Run({"eval", "x", "--learning_rate", "1e-3"}), 2, "--learning_rate");
  ExpectError(RunFedalt(folder_, {"frobnicate"}), 2, "expected one of run, ");
  ExpectError(Run({"run", "c.yaml", "--resume", "x"}), 2, "--resume");
  ExpectError(Run({"run", "--resume", "absent"}), 2, "absent");
  ExpectError(Run({"eval"}), 2, "run_dir");
  ExpectError(Run({"eval", "absent"}), 2, "absent");
  ExpectError(Run({"export", "absent", "--site", "x"}), 2, "--out");
  ExpectError(Run({"generate"}), 2, "RUN_DIR");
  ExpectError(Run({"generate", "absent"}), 2, "--site");
  ExpectError(Run({"generate", "--model", "m", "--site", "x"}), 2, "belong to a run");
  ExpectError(Run({"generate", "--model", "m", "--beams", "0"}), 2, "--beams");
}

TEST_F(CliUsage, KindsOfErrorHaveTheirCodes) {
  ExpectError(RunFedalt(folder_, {"run", "absent.yaml"}), 3, "absent.yaml");
  testing::WriteTinyRun(folder_);
  ExpectError(Run({"run", "config.yaml", "train.round=3"}), 3, "\"train.rounds\"");
  ExpectError(Run({"run", "config.yaml", "train.rounds=x"}), 3, "train.rounds is \"x\"");
  ExpectError(Run({"run", "config.yaml", "nonsense"}), 3, "key=value");
  ExpectError(Run({"run", "config.yaml", "sites=3"}), 5, "train_2.jsonl");
  ExpectError(Run({"run", "config.yaml", "model=absent"}), 4, "absent");
  ExpectError(Run({"run", "config.yaml", "--out", "model"}), 6, "not empty");
  ExpectError(Run({"run", "config.yaml", "--out", "config.yaml"}), 6, "is a file");
  ExpectError(Run({"generate", "--model", "absent", "--prompt", "x"}), 4, "absent");
  ExpectError(RunFedalt(folder_, {"generate", "--model", "model"}), 5, "no prompt");
}

TEST_F(CliUsage, PathsBeginAtHomeWhoeverReadsThem) {
  testing::WriteTinyRun(folder_);
  ::setenv("HOME", folder_.path().c_str(), 1);
  folder_.Write("full/x", "x");
  ExpectError(Run({"run", "~/config.yaml", "--out", "~/full"}), 6, (folder_.path() / "full").string());
  ExpectError(Run({"run", "--out=~/full", "config.yaml"}), 6, (folder_.path() / "full").string());
  ExpectError(Run({"eval", "~/full"}), 2, (folder_.path() / "full").string());
  ExpectError(Run({"generate", "--model", "~/absent", "--prompt", "x"}), 4, (folder_.path() / "absent").string());
  EXPECT_EQ(Run({"data", "split", "~/train_0.jsonl", "--by", "random", "--sites", "2", "--out", "~/split"}).code, 0);
  EXPECT_TRUE(std::filesystem::exists(folder_.path() / "split"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "~"));
}

TEST_F(CliUsage, WhatIsNotAModelDirectoryIsCalledWhatItIs) {
  testing::WriteTinyRun(folder_);
  folder_.Write("llama.gguf", "GGUF and more");
  folder_.Write("quantized/llama.gguf", "GGUF and more");
  folder_.Write("adapter/adapter_config.json", "{}");
  ExpectError(Run({"run", "config.yaml", "model=llama.gguf"}), 4, "llama.gguf is a GGUF file");
  ExpectError(Run({"generate", "--model", "llama.gguf", "--prompt", "x"}), 4, "is a GGUF file");
  ExpectError(Run({"generate", "--model", "quantized", "--prompt", "x"}), 4, "holds llama.gguf, a GGUF file");
  ExpectError(Run({"generate", "--model", "adapter", "--prompt", "x"}), 4, "holds a PEFT adapter");
  ExpectError(Run({"run", "config.yaml", "model=model/model.safetensors"}), 4, "is a single safetensors file");
  ExpectError(Run({"run", "config.yaml", "model=meta-llama/Llama-2-7b-hf"}), 4, "nothing is downloaded");
}

TEST_F(CliUsage, DoctorTellsWhatHasNoEffect) {
  testing::WriteTinyRun(folder_);
  const ProcessResult rank = Run({"doctor", "config.yaml", "adapter.r=4096", "feddpa.weight=0.3"});
  EXPECT_EQ(rank.code, 0) << rank.out;
  EXPECT_TRUE(std::regex_search(
      rank.out, std::regex("warning +model +adapter\\.r is 4096, but model\\.layers\\.0\\..*_proj is [0-9]+ x [0-9]+")))
      << rank.out;
  EXPECT_TRUE(std::regex_search(rank.out, std::regex("warning +config +feddpa\\.weight has no effect"))) << rank.out;
  EXPECT_EQ(Run({"doctor", "config.yaml"}).out.find("warning  model"), std::string::npos);
}

TEST_F(CliUsage, DevicesThatAreNotThereAreRefused) {
  testing::WriteTinyRun(folder_);
  ExpectError(Run({"run", "config.yaml", "device=gpu"}), 3, "device is \"gpu\"; expected one of auto, cpu, cuda");
  ExpectError(Run({"generate", "--model", "model", "--prompt", "x", "--device", "gpu"}), 2, "--device");
  const ProcessResult on_cpu = Run({"generate", "--model", "model", "--prompt", "cat", "--max-new-tokens", "1", "--device", "cpu"});
  EXPECT_EQ(on_cpu.code, 0) << on_cpu.err;
  if (DescribeCuda().devices > 0) GTEST_SKIP() << "there is a CUDA device here; the rest tests what is said where there is none";
  ExpectError(Run({"run", "config.yaml", "device=cuda", "--out", "out", "--quiet"}), 3, "device is cuda, but ");
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "out"));
  ExpectError(Run({"generate", "--model", "model", "--prompt", "x", "--device", "cuda"}), 3, "or use device cpu");
  const ProcessResult doctor = Run({"doctor", "config.yaml", "device=cuda"});
  EXPECT_EQ(doctor.code, 3);
  EXPECT_NE(doctor.out.find("device is cuda, but "), std::string::npos) << doctor.out;
}

TEST_F(CliUsage, ConfigurationsAreRefusedBeforeAnythingIsWritten) {
  testing::WriteTinyRun(folder_);
  folder_.Write("model/model.safetensors", "broken");
  const ProcessResult result = RunFedalt(folder_, {"run", "config.yaml", "--out", "out", "--quiet"});
  ExpectError(result, 4, "model.safetensors");
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "out"));
}

TEST_F(CliUsage, DoctorDescribesMachineModelAndData) {
  testing::WriteTinyRun(folder_);
  const ProcessResult text = RunFedalt(folder_, {"doctor", "config.yaml"});
  EXPECT_EQ(text.code, 0) << text.out << text.err;
  for (const char* part :
       {"machine", "blas", "libtorch", "device", "memory", "disk", "vocabulary 96", "target module q_proj: 2 layers", "EOS 2",
        "training: 4 examples", "### Instruction:\\nwhat is the sound of a cat\\n\\n### Response:\\n"}) {
    EXPECT_NE(text.out.find(part), std::string::npos) << text.out << "lacks: " << part;
  }
  const ProcessResult json = Run({"doctor", "config.yaml", "--format", "json"});
  const nlohmann::json object = nlohmann::json::parse(json.out, nullptr, false);
  ASSERT_TRUE(object.is_object()) << json.out;
  EXPECT_TRUE(object["ok"].get<bool>());
}

TEST_F(CliUsage, DoctorReportsEveryProblemAndTheCodeOfTheFirst) {
  testing::WriteTinyRun(folder_);
  folder_.Write("test_0.jsonl", "{\"instruction\": 1}\n");
  folder_.Write("test_1.jsonl", testing::Slurp(folder_.path() / "train_1.jsonl"));
  const ProcessResult result = Run({"doctor", "config.yaml", "adapter.target_modules=[c_attn]", "eval.max_new_tokens=1"});
  EXPECT_EQ(result.code, 3);
  EXPECT_NE(result.err.find("fedalt: doctor found 2 problems; the first is with model"), std::string::npos) << result.err;
  for (const char* part :
       {"\"c_attn\"", "test_0.jsonl", "4 of 4 test prompts are also training prompts", "longer than eval.max_new_tokens"}) {
    EXPECT_NE(result.out.find(part), std::string::npos) << result.out << "lacks: " << part;
  }
  const ProcessResult broken = Run({"doctor", "absent.yaml"});
  EXPECT_EQ(broken.code, 3);
}

TEST_F(CliUsage, AFullDiskOnStdoutIsAnError) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "this system has no /dev/full";
  const ProcessResult result = RunFedalt(folder_, {"doctor"}, "", "/dev/full");
  EXPECT_EQ(result.code, 6) << result.err;
}

}  // namespace
}  // namespace fedalt
