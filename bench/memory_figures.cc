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
  int64_t sites, examples, words;  ///< of a site: examples of each file; prompts have between half of `words` and all of them
  const char* options;             ///< lines of config.yaml
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
  for (uint64_t site = 0; site < static_cast<uint64_t>(what.sites); ++site) {
    Write(folder / absl::StrCat("train_", site, ".jsonl"), Examples(what, 2 * site));
    Write(folder / absl::StrCat("test_", site, ".jsonl"), Examples(what, 2 * site + 1));
  }
  Write(folder / "config.yaml",
        absl::StrCat("model: model\ndata: {train: 'train_{site}.jsonl', test: 'test_{site}.jsonl'}\nsites: ", what.sites, "\n",
                     what.options));
  return folder;
}

/// Runs `fedalt run` and returns its greatest resident memory in bytes, from the kernel.
double PeakOfRun(const fs::path& folder, at::ScalarType dtype) {
  const fs::path program = fs::read_symlink("/proc/self/exe").parent_path() / "fedalt";
  const char* const type = dtype == at::kFloat ? "train.dtype=float32" : "train.dtype=bfloat16";
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

constexpr char kTraining[] =
    "train: {rounds: 1, local_epochs: 1, batch_size: 8, max_length: 512}\n"
    "eval: {generate: false, batch_size: 4, ablations: 'off'}\n";
constexpr char kLargeAdapters[] =
    "train: {rounds: 2, local_epochs: 1, batch_size: 4, max_length: 512}\n"
    "adapter: {r: 64, target_modules: all-linear}\n"
    "eval: {every: 0, generate: false, ablations: 'off'}\n";
constexpr char kLosses[] =
    "train: {rounds: 1, steps: 1, batch_size: 1, max_length: 512}\n"
    "eval: {generate: false, batch_size: 32, ablations: 'off'}\n";
constexpr char kGeneration[] =
    "train: {rounds: 1, steps: 1, batch_size: 1, max_length: 512}\n"
    "eval: {beams: 4, max_new_tokens: 24, batch_size: 32, ablations: 'off'}\n";

std::vector<Case> Cases(bool quick) {
  if (quick) return {{"quick", kGeometryLittle, at::kFloat, 2, 4, 20, kTraining}};
  const Geometry &s = kGeometryS, &little = kGeometryLittle;
  return {{"S_bf16_training_1_site", s, at::kBFloat16, 1, 16, 200, kTraining},
          {"S_f32_training_1_site", s, at::kFloat, 1, 16, 200, kTraining},
          {"S_bf16_large_adapters_8_sites", s, at::kBFloat16, 8, 4, 150, kLargeAdapters},
          {"S_f32_losses_1_site", s, at::kFloat, 1, 32, 200, kLosses},
          {"S_bf16_generation_1_site", s, at::kBFloat16, 1, 32, 200, kGeneration},
          {"S_f32_generation_1_site", s, at::kFloat, 1, 32, 200, kGeneration},
          {"S_bf16_training_200_sites", s, at::kBFloat16, 200, 1, 40, kTraining},
          {"little_f32_8_sites", little, at::kFloat, 8, 16, 200, kTraining},
          {"little_f32_200_sites", little, at::kFloat, 200, 16, 100, kTraining},
          {"little_bf16_generation_8_sites", little, at::kBFloat16, 8, 32, 200, kGeneration}};
}

double PlanError(bool quick) {
  double worst = 0.0;
  for (const Case& what : Cases(quick)) {
    const fs::path folder = Prepare(what);
    const double measured = PeakOfRun(folder, what.dtype), planned = PlannedBytes(folder), error = (planned - measured) / measured;
    std::fprintf(stderr, "%-32s planned %5.0f MB, measured %5.0f MB, %+.0f %%\n", what.name, planned / 1e6, measured / 1e6,
                 100 * error);
    worst = std::max(worst, std::abs(error));
    fs::remove_all(folder);
  }
  return worst;
}

}  // namespace

std::vector<FigureDefinition> MemoryFigures() {
  return {
      {"memory_plan_error", "share",
       "|planned - measured| / measured, the worst of ten `fedalt run`: geometry S and a tiny model, bfloat16 and float32; 1, 8 "
       "and 200 sites; the peak in training (batches of 8 examples of 150 to 300 tokens), in losses and generation (32 of them), "
       "and with adapters of rank 64 on all linears; planned: what the run's log says at its start; measured: its greatest "
       "resident memory",
       true, PlanError}};
}

}  // namespace fedalt::bench
