#include "real_run.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string>

#include "base/check.h"
#include "base/file.h"
#include "base/random.h"
#include "scratch.h"

namespace fedalt::bench {

namespace fs = std::filesystem;

namespace {

void Write(const fs::path& path, const std::string& text) {
  const Status status = WriteFileAtomic(path, text);
  FEDALT_CHECK(status.ok(), std::string(status.message()));
}

/// Instructions of random words that the tokenizer knows, answers half as long.
std::string Examples(const RealRun& what, uint64_t file) {
  const RandomStream random(0, RandomPurpose::kData, {file});
  uint64_t draw = 0;
  constexpr uint64_t kWords = 68;  // w0 ... w67
  const auto text = [&](int64_t words) {
    std::string result;
    for (int64_t i = 0; i < words; ++i) absl::StrAppend(&result, i > 0 ? " w" : "w", random.Below(draw++, kWords));
    return result;
  };
  std::string lines;
  for (int64_t i = 0; i < what.examples; ++i) {
    const auto words = what.words / 2 + static_cast<int64_t>(random.Below(draw++, static_cast<uint64_t>(what.words / 2 + 1)));
    const std::string instruction = text(words), output = text(words / 2);
    absl::StrAppend(&lines, "{\"instruction\": \"", instruction, "\", \"output\": \"", output, "\"}\n");
  }
  return lines;
}

}  // namespace

fs::path PrepareRealRun(const RealRun& what) {
  const fs::path folder = Scratch() / absl::StrCat("run-", what.name);
  fs::remove_all(folder);
  WriteModelDirectory(what.geometry, what.dtype, folder / "model");
  for (const char* file : {"tokenizer.json", "tokenizer_config.json"})
    fs::copy_file(fs::path(FEDALT_BENCH_TOKENIZER) / file, folder / "model" / file);
  for (uint64_t site = 0; site < static_cast<uint64_t>(what.sites); ++site) {
    Write(folder / absl::StrCat("train_", site, ".jsonl"), Examples(what, 2 * site));
    Write(folder / absl::StrCat("test_", site, ".jsonl"), Examples(what, 2 * site + 1));
  }
  Write(folder / "config.yaml",
        absl::StrCat("model: model\ndata: {train: 'train_{site}.jsonl', test: 'test_{site}.jsonl'}\nsites: ", what.sites, "\n",
                     what.options));
  return folder;
}

RealRunResult ExecuteRealRun(const fs::path& folder, at::ScalarType dtype) {
  const fs::path program = fs::read_symlink("/proc/self/exe").parent_path() / "fedalt";
  const char* const type = dtype == at::kFloat ? "train.dtype=float32" : "train.dtype=bfloat16";
  fs::remove_all(folder / "run");
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int log = ::open((folder / "output").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (::chdir(folder.c_str()) == 0 && ::dup2(log, STDOUT_FILENO) >= 0 && ::dup2(log, STDERR_FILENO) >= 0)
      ::execl(program.c_str(), "fedalt", "run", "config.yaml", type, "--out", "run", static_cast<char*>(nullptr));
    ::_exit(99);
  }
  int status = 0;
  rusage usage{};
  FEDALT_CHECK(::wait4(child, &status, 0, &usage) == child, "fedalt could not be started");
  FEDALT_CHECK(
      WIFEXITED(status) && WEXITSTATUS(status) == 0,
      absl::StrCat(program.string(), " did not end well: ", ReadFile(folder / "output", ErrorKind::kInternal).value_or("")));
  const auto summary =
      nlohmann::json::parse(ReadFile(folder / "run" / "summary.json", ErrorKind::kInternal).value_or(""), nullptr, false);
  FEDALT_CHECK(summary.is_object() && summary.contains("train_seconds"), "a run leaves its summary");
  return {static_cast<double>(usage.ru_maxrss) * 1024, summary["train_seconds"].get<double>()};
}

}  // namespace fedalt::bench
