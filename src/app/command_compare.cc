// fedalt compare: the same federation by several methods and seeds, and a table of what is better, by how much, and how surely.
#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <system_error>

#include "app/command.h"
#include "app/compare_choice.h"
#include "app/compare_variants.h"
#include "app/comparison_table.h"
#include "app/config.h"
#include "base/directory_lock.h"
#include "base/file.h"
#include "base/log.h"
#include "report/report.h"
#include "run/comparison.h"
#include "run/comparison_results.h"
#include "run/comparison_search.h"
#include "run/run.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

constexpr char kExamples[] =
    "Examples:\n"
    "  fedalt compare config.yaml --methods local,fedit,fedalt --seeds 3 --out comparisons/first\n"
    "  fedalt compare config.yaml --methods \"local,fedalt:preset=paper,fedalt:preset=recommended\" --out comparisons/presets\n"
    "  fedalt compare config.yaml --methods local,fedalt --set train.lr=1e-3,3e-4 --out comparisons/rates\n"
    "  fedalt compare config.yaml --methods local,fedalt --search --set train.lr=1e-3,3e-3,1e-2 --out comparisons/search\n"
    "  fedalt compare config.yaml --methods local,fedalt --chosen-by comparisons/search --seeds 3 --out comparisons/fair\n"
    "  fedalt compare --resume comparisons/first\n"
    "base, pooled and local-2r (local with twice the rank) are always among them, but for --search. What the numbers mean:\n"
    "docs/compare.md.";

struct CompareArguments {
  std::string config;
  std::vector<std::string> overrides;
  std::string methods;
  int64_t seeds = 1;
  std::vector<std::string> sets;
  bool search = false;
  std::string chosen_by;
  std::string reference;
  std::optional<int64_t> resamples;
  std::string out;
  std::string resume;
  bool json = false;
  bool quiet = false;
};

/// Whether a comparison may begin there: nothing is in it but what a start that was killed has left.
Status CheckUnused(const fs::path& directory) {
  std::error_code error;
  if (!fs::exists(directory, error)) return absl::OkStatus();
  if (!fs::is_directory(directory, error))
    return OutputError(absl::StrCat(directory.string(), ": is a file, but a comparison needs a directory; choose another --out"));
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (!entry.path().filename().string().starts_with("comparison-spec.json.part-"))
      return OutputError(absl::StrCat(directory.string(), ": is not empty and holds no comparison; choose another --out"));
  }
  return absl::OkStatus();
}

bool IsComplete(const fs::path& directory, const ComparisonSpec& spec) {
  for (const ComparisonRun& run : RunsOf(spec)) {
    const RunState state = StateOf(directory, spec, run);
    if (state != RunState::kFinished && state != RunState::kFailed) return false;
  }
  return true;
}

/// The inputs are those of the first variant: model and data are the same for all.
Status VerifyInputs(const ComparisonSpec& spec) {
  ASSIGN_OR_RETURN(const PreparedRun prepared, PrepareComparisonRun(spec, spec.variants.front(), spec.seeds.front()));
  RETURN_IF_ERROR(CheckMemoryBefore(prepared.config));
  return VerifyHashes(prepared.config, spec.inputs);
}

/// Takes over what changes no run. Whether it was another.
StatusOr<bool> ChangeStatistics(const CompareArguments& arguments, ComparisonSpec& spec) {
  const std::string reference = spec.reference;
  const int64_t resamples = spec.resamples;
  if (!arguments.reference.empty()) RETURN_IF_ERROR(ChooseReference(arguments.reference, spec));
  spec.resamples = arguments.resamples.value_or(spec.resamples);
  return spec.reference != reference || spec.resamples != resamples;
}

/// `given`, or what `directory` holds of it already. The directory is locked. `search`: what `given` was chosen by, if anything.
StatusOr<ComparisonSpec> BeginOrContinue(ComparisonSpec given, const std::optional<Search>& search, const fs::path& directory) {
  std::error_code error;
  if (!fs::exists(directory / "comparison-spec.json", error)) {
    RETURN_IF_ERROR(CheckUnused(directory));
    ASSIGN_OR_RETURN(const PreparedRun first, PrepareComparisonRun(given, given.variants.front(), given.seeds.front()));
    RETURN_IF_ERROR(CheckMemoryBefore(first.config));  // before files are hashed
    ASSIGN_OR_RETURN(given.inputs, HashInputs(first.config));
    if (search) RETURN_IF_ERROR(search->CheckComparable(given));
    RETURN_IF_ERROR(WriteComparisonSpec(directory, given));
    return given;
  }
  ASSIGN_OR_RETURN(ComparisonSpec existing, ReadComparisonSpec(directory));
  if (const std::string difference = DifferenceOf(existing, given); !difference.empty())
    return OutputError(absl::StrCat(directory.string(), ": holds another comparison (", difference, "); choose another --out"));
  RETURN_IF_ERROR(VerifyInputs(existing));
  existing.reference = given.reference;
  existing.resamples = given.resamples;
  RETURN_IF_ERROR(WriteComparisonSpec(directory, existing));
  return existing;
}

Status PrintResults(const CompareArguments& arguments, const ComparisonSpec& spec, const fs::path& directory) {
  ASSIGN_OR_RETURN(const std::vector<ComparedRun> runs, ReadComparedRuns(directory, spec));
  OrderedJson json = ComparisonToJson(spec, runs);
  const auto dump = [](const OrderedJson& value, int indent) {
    return value.dump(indent, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
  };
  RETURN_IF_ERROR(WriteFileAtomic(directory / "comparison.csv", ComparisonToCsv(spec, runs)));
  RETURN_IF_ERROR(WriteFileAtomic(directory / "comparison.json", dump(json, 1)));
  WriteReportOrWarn(directory);
  if (arguments.json) {
    std::error_code error;
    json["out"] = fs::absolute(directory, error).lexically_normal().string();
    RETURN_IF_ERROR(WriteResult(dump(json, -1)));
  } else {
    RETURN_IF_ERROR(WriteResult(ComparisonTable(json)));
    RETURN_IF_ERROR(WriteResult(absl::StrCat("everything is in ", directory.string(), "\n")));
  }
  int64_t failed = 0;
  std::string first;
  for (const ComparedRun& run : runs) {
    failed += run.failure.empty() ? 0 : 1;
    if (first.empty() && !run.failure.empty()) first = absl::StrCat(run.path, ": ", run.failure);
  }
  if (failed == 0) return absl::OkStatus();
  return TrainingError(absl::StrCat(failed, " of ", runs.size(), " runs failed, the first of them ", first));
}

Status Finish(const CompareArguments& arguments, const ComparisonSpec& spec, const fs::path& directory) {
  RETURN_IF_ERROR(ExecuteComparison(
      directory, spec, [&spec](const Variant& variant, uint64_t seed) { return PrepareComparisonRun(spec, variant, seed); }));
  return PrintResults(arguments, spec, directory);
}

/// The plans with what the search of --chosen-by found best; what `out` has recorded of the same search is not chosen again.
Status Choose(const Search& search, const fs::path& out, std::vector<VariantPlan>& plans) {
  std::error_code error;
  if (!fs::exists(out / "comparison-spec.json", error)) return ChooseSettings(search, plans);
  ASSIGN_OR_RETURN(const ComparisonSpec existing, ReadComparisonSpec(out));
  if (!existing.chosen_by || existing.chosen_by->spec_sha256 != search.source().spec_sha256) return ChooseSettings(search, plans);
  TakeRecordedChoices(existing, plans);
  return absl::OkStatus();
}

/// What the command line asks for, with no inputs hashed.
StatusOr<ComparisonSpec> PlanComparison(const CompareArguments& arguments, const std::optional<Search>& search) {
  ASSIGN_OR_RETURN(std::vector<VariantPlan> plans, PlanVariants(arguments.methods, arguments.sets, !arguments.search));
  if (search) RETURN_IF_ERROR(Choose(*search, arguments.out, plans));
  std::vector<std::string> overrides = arguments.overrides;
  if (arguments.search) overrides.insert(overrides.begin(), {"eval.metrics=[loss]", "eval.generate=false"});
  ASSIGN_OR_RETURN(ComparisonSpec spec,
                   MakeComparisonSpec(arguments.config, overrides, plans, arguments.seeds, arguments.reference));
  spec.resamples = arguments.resamples.value_or(spec.resamples);
  if (search) spec.chosen_by = search->source();
  if (arguments.search) RETURN_IF_ERROR(CheckSearchable(spec));
  if (arguments.search && spec.metric == "loss") spec.metric = "validation_loss";  // whoever chooses does not see the test data
  return spec;
}

Status StartNew(const CompareArguments& arguments) {
  const fs::path out = arguments.out;
  std::error_code error;
  if (!fs::exists(out / "comparison-spec.json", error)) RETURN_IF_ERROR(CheckUnused(out));  // before anything is read
  std::optional<Search> search;
  if (!arguments.chosen_by.empty()) {
    ASSIGN_OR_RETURN(search, Search::Open(arguments.chosen_by));
  }
  ASSIGN_OR_RETURN(ComparisonSpec given, PlanComparison(arguments, search));
  if (const std::string warning = SlowBlasWarning(); !warning.empty()) LogWarning(warning);
  RETURN_IF_ERROR(MakeDirectories(out));
  ASSIGN_OR_RETURN(const DirectoryLock lock, DirectoryLock::Take(out, "comparison"));
  ASSIGN_OR_RETURN(const ComparisonSpec spec, BeginOrContinue(std::move(given), search, out));
  return Finish(arguments, spec, out);
}

Status Resume(const CompareArguments& arguments) {
  const fs::path directory = arguments.resume;
  ASSIGN_OR_RETURN(ComparisonSpec spec, ReadComparisonSpec(directory));
  ASSIGN_OR_RETURN(const DirectoryLock lock, DirectoryLock::Take(directory, "comparison"));
  ASSIGN_OR_RETURN(const bool changed, ChangeStatistics(arguments, spec));
  if (changed) RETURN_IF_ERROR(WriteComparisonSpec(directory, spec));
  if (IsComplete(directory, spec))
    LogInfo(absl::StrCat("the comparison in ", directory.string(), " is finished; nothing is left to run"));
  else
    RETURN_IF_ERROR(VerifyInputs(spec));
  return Finish(arguments, spec, directory);
}

Status Execute(const CompareArguments& arguments) {
  if (arguments.quiet) SetLogLevel(LogLevel::kWarning);
  const bool given = !arguments.config.empty() || !arguments.overrides.empty() || !arguments.methods.empty() ||
                     !arguments.sets.empty() || arguments.search || !arguments.chosen_by.empty() || !arguments.out.empty();
  if (!arguments.resume.empty()) {
    if (given)
      return UsageError(
          "--resume goes on with a comparison as it was begun; expected no CONFIG, key=value, --methods, --set, --search, "
          "--chosen-by "
          "or --out beside it");
    return Resume(arguments);
  }
  if (arguments.config.empty())
    return UsageError("compare needs a configuration file, or --resume DIR (see fedalt compare --help)");
  if (arguments.methods.empty())
    return UsageError("compare needs --methods, such as --methods local,fedit,fedalt (see fedalt compare --help)");
  if (arguments.out.empty()) return UsageError("compare needs --out DIR, a directory for its runs (see fedalt compare --help)");
  if (arguments.search && arguments.sets.empty())
    return UsageError("--search needs --set, such as --set train.lr=1e-3,3e-3,1e-2 (see fedalt compare --help)");
  return StartNew(arguments);
}

void AddComparedOptions(CLI::App& app, CompareArguments& arguments) {
  constexpr int64_t kMaxSeeds = 1000, kMaxResamples = 1'000'000;
  app.add_option("--methods", arguments.methods, "What is compared; settings of a method follow it behind colons")
      ->type_name("a,b:key=value,...");
  app.add_option("--seeds", arguments.seeds, "How many seeds, beginning with that of the configuration (default: 1)")
      ->check(CLI::Range(int64_t{1}, kMaxSeeds))
      ->type_name("N");
  app.add_option("--set", arguments.sets, "Every method once with each value; may be given again for another key")
      ->type_name("key=v1,v2")
      ->type_size(1)
      ->allow_extra_args(false);
  app.add_flag("--search", arguments.search,
               "Only losses, without answers and added controls: to choose among the values of --set");
  app.add_option("--chosen-by", arguments.chosen_by,
                 "Every method with the settings of the least validation loss in this comparison, a search")
      ->type_name("DIR");
  app.add_option("--reference", arguments.reference, "Variant that the others are compared with (default: local)")
      ->type_name("NAME");
  app.add_option("--bootstrap", arguments.resamples, "Resamples behind the intervals (default: 2000)")
      ->check(CLI::Range(int64_t{1}, kMaxResamples))
      ->type_name("N");
}

}  // namespace

void AddCompareCommand(CLI::App& program, Command& command) {
  auto arguments = std::make_shared<CompareArguments>();
  CLI::App* app = program.add_subcommand("compare", "Compare methods on the same sites and seeds, with confidence intervals");
  app->add_option("config", arguments->config, "The YAML configuration")->type_name("CONFIG.yaml");
  app->add_option("overrides", arguments->overrides, "Keys that win over the file, in every run")->type_name("key=value");
  AddComparedOptions(*app, *arguments);
  app->add_option("--out", arguments->out, "Directory for the comparison; one that holds a part of the same is gone on with")
      ->type_name("DIR");
  app->add_option("--resume", arguments->resume, "Go on with the comparison in this directory")->type_name("DIR");
  AddFormatOption(*app, arguments->json);
  app->add_flag("--quiet", arguments->quiet, "Only warnings and errors on stderr");
  app->footer(kExamples);
  app->callback([arguments, &command] { command.run = [arguments] { return Execute(*arguments); }; });
}

}  // namespace fedalt
