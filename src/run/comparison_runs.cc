// The runs of a comparison, one after the other, each started or gone on with as its directory says.
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/progress.h"
#include "run/comparison.h"
#include "run/run.h"
#include "run/run_directory.h"
#include "run/run_format.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

/// How long runs take: that of the same variant under another seed, else the mean of all that are known.
class Durations {
 public:
  void Add(const ComparisonRun& run, double seconds) {
    of_variant_[run.variant] = seconds;
    sum_ += seconds;
    ++count_;
  }
  /// ", about 3:20 left"; empty as long as nothing is known.
  std::string LeftText(const std::vector<ComparisonRun>& runs) const {
    if (count_ == 0) return {};
    double left = 0.0;
    for (const ComparisonRun& run : runs) {
      const auto known = of_variant_.find(run.variant);
      left += known != of_variant_.end() ? known->second : sum_ / count_;
    }
    return absl::StrCat(", about ", DurationText(left), " left");
  }

 private:
  std::map<size_t, double> of_variant_;
  double sum_ = 0.0, count_ = 0.0;
};

/// Seconds that a finished run says it took.
std::optional<double> RecordedSeconds(const fs::path& summary) {
  const auto text = ReadFile(summary, ErrorKind::kOutput);
  if (!text.ok()) return std::nullopt;
  const auto json = OrderedJson::parse(*text, nullptr, false);
  if (!json.is_object() || !json.contains("seconds") || !json["seconds"].is_number()) return std::nullopt;
  return json["seconds"].get<double>();
}

std::string NameOf(const ComparisonSpec& spec, const ComparisonRun& run) {
  const Variant& variant = spec.variants[run.variant];
  return variant.depends_on_seed ? absl::StrCat(variant.name, ", seed ", run.seed) : variant.name;
}

Status StartOrResume(const fs::path& root, const PreparedRun& prepared) {
  std::error_code error;
  const fs::path config = root / "config.yaml";
  if (!fs::exists(config, error)) return StartRun(prepared.config, prepared.resolved, root).status();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(config, ErrorKind::kOutput));
  if (text != prepared.resolved)
    return OutputError(
        absl::StrCat(root.string(),
                     ": holds a run with another configuration than this comparison's; move it away, or choose another "
                     "--out"));
  return ResumeRun(prepared.config, root).status();
}

Status RecordFailure(const fs::path& path, const Status& failure) {
  const OrderedJson json = {{"reason", std::string(failure.message())}};
  return WriteFileAtomic(path, json.dump(1, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
}

}  // namespace

RunState StateOf(const fs::path& directory, const ComparisonSpec& spec, const ComparisonRun& run) {
  std::error_code error;
  const fs::path root = directory / RunPath(spec, run);
  if (fs::exists(root / "summary.json", error)) return RunState::kFinished;
  if (fs::exists(directory / FailurePath(spec, run), error)) return RunState::kFailed;
  return fs::exists(root / "config.yaml", error) ? RunState::kBegun : RunState::kAbsent;
}

Status ExecuteComparison(const fs::path& directory, const ComparisonSpec& spec, const PrepareRun& prepare) {
  const std::vector<ComparisonRun> runs = RunsOf(spec);
  std::vector<ComparisonRun> left;
  Durations durations;
  for (const ComparisonRun& run : runs) {
    const RunState state = StateOf(directory, spec, run);
    if (state != RunState::kFinished && state != RunState::kFailed) left.push_back(run);
    if (state != RunState::kFinished) continue;
    if (const auto seconds = RecordedSeconds(directory / RunPath(spec, run) / "summary.json")) durations.Add(run, *seconds);
  }
  if (!left.empty())
    for (const ComparisonRun& run : runs)  // what is done must have been drawn as what is to be done
      if (StateOf(directory, spec, run) == RunState::kFinished) RETURN_IF_ERROR(CheckRunFormat(directory / RunPath(spec, run)));
  if (left.size() < runs.size())
    LogInfo(absl::StrCat(runs.size() - left.size(), " of ", runs.size(), " runs are done already and are not repeated"));
  while (!left.empty()) {
    const ComparisonRun run = left.front();
    const std::string where = absl::StrCat("run ", runs.size() - left.size() + 1, " of ", runs.size(), ", ", NameOf(spec, run));
    const std::string go_on = absl::StrCat("nothing is lost, go on with: fedalt compare --resume ", directory.string());
    if (InterruptRequested()) return InterruptedError(absl::StrCat("stopped before ", where, "; ", go_on));
    LogInfo(absl::StrCat(where, durations.LeftText(left)));
    ASSIGN_OR_RETURN(const PreparedRun prepared, prepare(spec.variants[run.variant], run.seed));
    const auto start = std::chrono::steady_clock::now();
    const Status status = StartOrResume(directory / RunPath(spec, run), prepared);
    if (!status.ok()) {
      CloseLogFile();
      if (KindOf(status) == ErrorKind::kInterrupted) return InterruptedError(absl::StrCat("stopped in ", where, "; ", go_on));
      if (KindOf(status) != ErrorKind::kTraining) return Annotate(status, where);
      LogWarning(absl::StrCat(where, " failed: ", status.message()));
      RETURN_IF_ERROR(RecordFailure(directory / FailurePath(spec, run), status));
    }
    durations.Add(run, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    left.erase(left.begin());
  }
  return absl::OkStatus();
}

}  // namespace fedalt
