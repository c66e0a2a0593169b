// Runs the real program as a process and keeps what it said.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "app/command.h"

namespace fedalt::testing {

struct ProcessResult {
  int code = -1;  ///< exit status; 128 + signal if it was killed
  std::string out, err;
};

inline std::string Slurp(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A folder of its own for a test; removed at the end.
class TestFolder {
 public:
  TestFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "fedalt-cli-XXXXXX").string();
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void Write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << text;
  }

 private:
  std::filesystem::path path_;
};

/// fedalt ARGUMENTS in `folder`, with `input` on stdin. stdout goes to `stdout_path` if it is given, and `out` stays empty. Where
/// `largest_file` is given, no file can grow beyond that many bytes: as on a disk that is full, a write stores a part and the next
/// fails.
inline ProcessResult RunFedalt(const TestFolder& folder, const std::vector<std::string>& arguments, const std::string& input = "",
                               const std::string& stdout_path = "", rlim_t largest_file = RLIM_INFINITY) {
  folder.Write(".stdin", input);
  const std::string out_path = stdout_path.empty() ? (folder.path() / ".stdout").string() : stdout_path;
  const pid_t child = ::fork();
  if (child == 0) {
    const auto redirect = [](const std::string& path, int flags, int target) {
      const int file = ::open(path.c_str(), flags, 0600);
      return file >= 0 && ::dup2(file, target) >= 0;
    };
    std::vector<char*> argv = {const_cast<char*>("fedalt")};
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    const bool ready = ::chdir(folder.path().c_str()) == 0 && redirect(".stdin", O_RDONLY, STDIN_FILENO) &&
                       redirect(out_path, O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO) &&
                       redirect(".stderr", O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
    const rlimit limit = {largest_file, largest_file};
    ::signal(SIGXFSZ, SIG_IGN);  // the write fails instead
    if (ready && ::setrlimit(RLIMIT_FSIZE, &limit) == 0) ::execv(FEDALT_PROGRAM, argv.data());
    ::_exit(99);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  ProcessResult result;
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (stdout_path.empty()) result.out = Slurp(out_path);
  result.err = Slurp(folder.path() / ".stderr");
  return result;
}

/// The same without a process of its own, for lines that are refused before anything begins: the program takes half a second to
/// load.
inline ProcessResult RunInProcess(const TestFolder& folder, const std::vector<std::string>& arguments) {
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  std::vector<const char*> argv = {"fedalt"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  ProcessResult result;
  result.code = RunProgram(static_cast<int>(argv.size()), argv.data());
  result.out = ::testing::internal::GetCapturedStdout();
  result.err = ::testing::internal::GetCapturedStderr();
  std::filesystem::current_path(before);
  return result;
}

/// Model, tokenizer and data of two tiny sites, and config.yaml that names them. The model and the tokenizer were written by
/// transformers.
inline void WriteTinyRun(const TestFolder& folder) {
  namespace fs = std::filesystem;
  const fs::path data = FEDALT_TEST_DATA, model = folder.path() / "model";
  fs::create_directories(model);
  for (const char* file : {"config.json", "generation_config.json", "model.safetensors"})
    fs::copy_file(data / "model" / "llama" / file, model / file);
  for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) fs::copy_file(data / "cli" / file, model / file);
  const auto example = [](const std::string& animal, const std::string& answer) {
    return "{\"instruction\": \"what is the sound of a " + animal + "\", \"output\": \"" + answer + "\", \"tag\": \"" + answer +
           "\"}\n";
  };
  folder.Write("train_0.jsonl", example("cat", "meow") + example("dog", "woof") + example("cow", "moo") + example("duck", "quack"));
  folder.Write("train_1.jsonl",
               example("cat", "red") + example("dog", "blue") + example("cow", "green") + example("duck", "yellow"));
  folder.Write("test_0.jsonl", example("the cat", "meow") + example("the dog", "woof"));
  folder.Write("test_1.jsonl", example("the cat", "red") + example("the cow", "green"));
  folder.Write("config.yaml",
               "model: model\n"
               "data: {train: 'train_{site}.jsonl', test: 'test_{site}.jsonl'}\n"
               "sites: 2\n"
               "adapter: {r: 2}\n"
               "train: {rounds: 2, steps: 2, batch_size: 2, max_length: 64, lr: 0.01}\n"
               "eval: {every: 1, beams: 1, max_new_tokens: 4}\n"
               "threads: 1\n");
}

}  // namespace fedalt::testing
