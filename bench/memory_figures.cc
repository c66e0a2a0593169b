// The plan of memory against what real runs take.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/check.h"
#include "base/file.h"
#include "base/random.h"
#include "figures.h"
#include "scratch.h"
#include "synthetic.h"

namespace fedalt::bench {
namespace {

namespace fs = std::filesystem;

struct Case {
  const char* name;
  Geometry geometry;
  at::ScalarType dtype;
  int64_t examples, words;  ///< of a site; prompts have between half of `words` and all of them
};
constexpr Geometry kGeometryLittle{2, 32, 48, 2, 128};  // room for the tokenizer's 96 ids

void Write(const fs::path& path, const std::string& text) {
  const Status status = WriteFileAtomic(path, text);
  FEDALT_CHECK(status.ok(), std::string(status.message()));
}

/// Instructions of random words that the tokenizer knows, answers half as long.
std::string Examples(const Case& what, uint64_t file) {
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

/// Everything that the run needs, in a folder of its own.
fs::path Prepare(const Case& what) {
  const fs::path folder = Scratch() / absl::StrCat("memory-", what.name);
  fs::remove_all(folder);
  WriteModelDirectory(what.geometry, what.dtype, folder / "model");
  for (const char* file : {"tokenizer.json", "tokenizer_config.json"})
    fs::copy_file(fs::path(FEDALT_BENCH_TOKENIZER) / file, folder / "model" / file);
  for (uint64_t site = 0; site < 2; ++site) {
    Write(folder / absl::StrCat("train_", site, ".jsonl"), Examples(what, 2 * site));
    Write(folder / absl::StrCat("test_", site, ".jsonl"), Examples(what, 2 * site + 1));
  }
  Write(folder / "config.yaml", absl::StrCat("model: model\n"
                                             "data: {train: 'train_{site}.jsonl', test: 'test_{site}.jsonl'}\n"
                                             "sites: 2\n"
                                             "train: {rounds: 1, local_epochs: 1, batch_size: 8, max_length: 512, dtype: ",
                                             what.dtype == at::kFloat ? "float32" : "bfloat16",
                                             "}\n"
                                             "eval: {beams: 1, max_new_tokens: 8}\n"));
  return folder;
}

/// Runs `fedalt run` and returns its greatest resident memory in bytes, from the kernel.
double PeakOfRun(const fs::path& folder) {
  const fs::path program = fs::read_symlink("/proc/self/exe").parent_path() / "fedalt";
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int log = ::open((folder / "output").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (::chdir(folder.c_str()) == 0 && ::dup2(log, STDOUT_FILENO) >= 0 && ::dup2(log, STDERR_FILENO) >= 0)
      ::execl(program.c_str(), "fedalt", "run", "config.yaml", "--out", "run", static_cast<char*>(nullptr));
    ::_exit(99);
  }
  int status = 0;
  rusage usage{};
  FEDALT_CHECK(::wait4(child, &status, 0, &usage) == child, "fedalt could not be started");
  FEDALT_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0,
               ReadFile(folder / "output", ErrorKind::kInternal).value_or(program.string() + " does not run"));
  return static_cast<double>(usage.ru_maxrss) * 1024;
}

/// What the run said it would need.
double PlannedBytes(const fs::path& folder) {
  const std::string log = ReadFile(folder / "run" / "log.txt", ErrorKind::kInternal).value_or("");
  constexpr char kBefore[] = "expects a peak of ";
  const size_t at = log.find(kBefore);
  FEDALT_CHECK(at != log.npos, "a run states its plan");
  return 1e6 * std::atof(log.c_str() + at + sizeof(kBefore) - 1);
}

double PlanError(bool quick) {
  const Geometry& geometry = quick ? kGeometryLittle : kGeometryS;
  const int64_t examples = quick ? 4 : 24, words = quick ? 20 : 200;
  double worst = 0.0;
  for (const Case& what :
       {Case{"S_bf16", geometry, at::kBFloat16, examples, words}, Case{"S_f32", geometry, at::kFloat, examples, words},
        Case{"tiny", kGeometryLittle, at::kFloat, examples, words}}) {
    const fs::path folder = Prepare(what);
    const double measured = PeakOfRun(folder), planned = PlannedBytes(folder);
    std::fprintf(stderr, "%s: planned %.0f MB, measured %.0f MB\n", what.name, planned / 1e6, measured / 1e6);
    worst = std::max(worst, std::abs(planned - measured) / measured);
    fs::remove_all(folder);
  }
  return worst;
}

}  // namespace

std::vector<FigureDefinition> MemoryFigures() {
  return {{"memory_plan_error", "share",
           "|planned - measured| / measured, the worst of three `fedalt run`: geometry S in bfloat16 and in float32, and a tiny "
           "model; two sites, batches of 8 examples of 150 to 300 tokens, evaluation with generation; planned: what the run's log "
           "says at its start; measured: its greatest resident memory",
           true, PlanError}};
}

}  // namespace fedalt::bench
