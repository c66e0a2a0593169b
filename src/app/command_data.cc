// fedalt data: one data set split into sites, and what the data of sites look like.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <system_error>

#include "app/command.h"
#include "app/config.h"
#include "app/data_split.h"
#include "app/data_stats.h"
#include "base/log.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

constexpr char kExamples[] =
    "Examples:\n"
    "  fedalt data split tasks/*.json --by task --sites-per-task 2 --out data\n"
    "  fedalt data split dolly.jsonl --by label --sites 8 --alpha 0.3 --out data\n"
    "  fedalt data stats data/config.yaml\n"
    "Formats and rules: docs/data.md.";
constexpr char kSplitExamples[] =
    "Examples:\n"
    "  fedalt data split tasks/*.json --by task --sites-per-task 2 --out data     each task at two sites\n"
    "  fedalt data split alpaca.json --by label --sites 8 --alpha 0.3 --out data  each label at few sites\n"
    "  fedalt data split dolly.jsonl --by random --sites 4 --limit 200 --out data\n"
    "  fedalt data split 8/local_training_*.json --by task --test-data flan_test.jsonl --out data";
constexpr char kStatsExamples[] =
    "Examples:\n"
    "  fedalt data stats config.yaml                   every site of a configuration; its model need not be there\n"
    "  fedalt data stats config.yaml model=DIR         lengths in tokens of this model\n"
    "  fedalt data stats a.json b.jsonl --format json  each file as a site";

constexpr int64_t kMostSites = 100'000;
constexpr int64_t kMost = 1'000'000'000;

struct SplitArguments {
  std::vector<std::string> inputs, tests;
  std::string out, by;
  std::optional<int64_t> sites, sites_per_task, min_examples, limit;
  std::optional<double> alpha, test;
  uint64_t seed = 0;
  bool json = false;
};

struct StatsArguments {
  std::vector<std::string> inputs;
  bool json = false;
};

/// Options that belong to another rule, and those that are missing.
Status CheckOptions(const SplitArguments& arguments) {
  if (arguments.by != "task" && !arguments.sites)
    return UsageError(absl::StrCat("--by ", arguments.by, " needs --sites N, the number of sites"));
  if (arguments.by != "task" && arguments.sites_per_task)
    return UsageError("--sites-per-task belongs to --by task; give --sites instead");
  if (arguments.by != "task" && !arguments.tests.empty())
    return UsageError("--test-data belongs to --by task; hold out a share of the input by --test instead");
  if (arguments.by != "label" && arguments.alpha) return UsageError("--alpha belongs to --by label; leave it out");
  if (!arguments.tests.empty() && arguments.test)
    return UsageError("--test and --test-data are both given; expected one of the two");
  if (arguments.alpha && !(*arguments.alpha > 0.0 && std::isfinite(*arguments.alpha)))
    return UsageError(absl::StrCat("--alpha is ", *arguments.alpha, "; expected a number above 0, such as 0.3"));
  if (arguments.test && !(*arguments.test >= 0.0 && *arguments.test < 1.0))
    return UsageError(absl::StrCat("--test is ", *arguments.test, "; expected a share from 0 to below 1, such as 0.2"));
  return absl::OkStatus();
}

Status ExecuteSplit(const SplitArguments& arguments) {
  RETURN_IF_ERROR(CheckOptions(arguments));
  DataSplitRequest request;
  request.inputs.assign(arguments.inputs.begin(), arguments.inputs.end());
  request.tests.assign(arguments.tests.begin(), arguments.tests.end());
  request.out = arguments.out;
  SplitOptions& options = request.options;
  options.rule = arguments.by == "task" ? SplitRule::kTask : arguments.by == "label" ? SplitRule::kLabel : SplitRule::kRandom;
  options.sites = arguments.sites.value_or(0);
  options.sites_per_task = arguments.sites_per_task.value_or(1);
  options.alpha = arguments.alpha.value_or(options.alpha);
  options.test_share = arguments.tests.empty() ? arguments.test.value_or(options.test_share) : 0.0;
  options.seed = arguments.seed;
  options.min_examples = std::max<int64_t>(arguments.min_examples.value_or(0), options.test_share > 0.0 ? 2 : 1);
  options.limit = arguments.limit.value_or(0);
  ASSIGN_OR_RETURN(OrderedJson split, SplitData(request));
  if (const auto moved = split["moved"].get<int64_t>(); moved > 0)
    LogWarning(absl::StrCat(moved, moved == 1 ? " example was" : " examples were",
                            " given to sites that the draw left with fewer than ", options.min_examples,
                            "; fewer sites, a larger --alpha or another --seed need less of that"));
  if (arguments.json) {
    std::error_code error;
    split["out"] = fs::absolute(request.out, error).lexically_normal().string();
    return WriteResult(split.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
  }
  RETURN_IF_ERROR(WriteResult(SplitTable(split)));
  return WriteResult(absl::StrCat("everything is in ", arguments.out, "; name a model in its config.yaml, then: fedalt run ",
                                  (request.out / "config.yaml").string(), "\n"));
}

bool IsYaml(const std::string& name) {
  return name.ends_with(".yaml") || name.ends_with(".yml");
}

/// The tokenizer, if the model is there and has one; what is wrong with it is a warning, because the data can be described without.
std::shared_ptr<const Tokenizer> TryTokenizer(const fs::path& model) {
  std::error_code error;
  if (model.empty() || !fs::is_directory(model, error)) {
    LogInfo("there is no model directory, so lengths are in characters only");
    return nullptr;
  }
  auto tokenizer = Tokenizer::Load(model);
  if (!tokenizer.ok()) {
    LogWarning(absl::StrCat("lengths are in characters only: ", std::string(tokenizer.status().message())));
    return nullptr;
  }
  if (!(*tokenizer)->eos_id()) {
    LogWarning("lengths are in characters only: the tokenizer names no EOS token");
    return nullptr;
  }
  return *std::move(tokenizer);
}

Status ExecuteStats(const StatsArguments& arguments) {
  DataStatsRequest request;
  std::shared_ptr<const Tokenizer> tokenizer;
  if (IsYaml(arguments.inputs.front())) {
    const std::vector<std::string> overrides(arguments.inputs.begin() + 1, arguments.inputs.end());
    ASSIGN_OR_RETURN(const ParsedConfig parsed, LoadConfig(arguments.inputs.front(), overrides, /*needs_model=*/false));
    request.sites = parsed.config.sites;
    request.validation = parsed.config.validation;
    request.seed = parsed.config.federation.seed;
    request.prompt_template = parsed.config.prompt_template;
    request.lengths = {parsed.config.max_length, parsed.config.too_long};
    tokenizer = TryTokenizer(parsed.config.model);
    request.tokenizer = tokenizer.get();
  } else {
    for (const std::string& file : arguments.inputs) {
      if (IsYaml(file))
        return UsageError(absl::StrCat(file, " is a configuration; expected it as the first argument, or data files alone"));
      SiteFiles site;
      site.name = file;
      site.train = file;
      request.sites.push_back(std::move(site));
    }
  }
  ASSIGN_OR_RETURN(const OrderedJson stats, DescribeData(request));
  if (arguments.json) return WriteResult(stats.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
  RETURN_IF_ERROR(WriteResult(StatsTable(stats)));
  for (const OrderedJson& warning : stats["warnings"]) LogWarning(warning.get<std::string>());
  return absl::OkStatus();
}

void AddSplit(CLI::App& data, Command& command) {
  auto arguments = std::make_shared<SplitArguments>();
  CLI::App* app = data.add_subcommand("split", "Split one data set into sites, each with training and test examples");
  app->add_option("inputs", arguments->inputs, "Examples, json or jsonl")->required()->type_name("INPUT");
  app->add_option("--out", arguments->out, "New or empty directory")->required()->type_name("DIR");
  app->add_option("--by", arguments->by, "What makes a site: its task, its labels by a Dirichlet distribution, or chance")
      ->required()
      ->check(CLI::IsMember({"task", "label", "random"}))
      ->type_name("task|label|random");
  app->add_option("--sites", arguments->sites, "Number of sites (by task: it follows from the tasks)")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, kMostSites));
  app->add_option("--sites-per-task", arguments->sites_per_task, "By task: sites that share each task (default: 1)")
      ->type_name("M")
      ->check(CLI::Range(int64_t{1}, kMostSites));
  app->add_option("--alpha", arguments->alpha, "By label: small gives each label to few sites, large to all alike (default: 0.5)")
      ->type_name("A");
  app->add_option("--test", arguments->test, "Share of each site's examples to test on; 0: none (default: 0.2)")
      ->type_name("SHARE");
  app->add_option("--test-data", arguments->tests, "By task: test examples from this file instead; may be given again")
      ->type_name("FILE")
      ->allow_extra_args(false);
  app->add_option("--min-examples", arguments->min_examples, "Least examples of a site (default: 2, or 1 without test share)")
      ->type_name("K")
      ->check(CLI::Range(int64_t{1}, kMost));
  app->add_option("--limit", arguments->limit, "Most examples of a site; the others are left out (default: no limit)")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, kMost));
  app->add_option("--seed", arguments->seed, "Seed of the draws (default: 0)")->type_name("N");
  AddFormatOption(*app, arguments->json);
  app->footer(kSplitExamples);
  app->callback([arguments, &command] { command.run = [arguments] { return ExecuteSplit(*arguments); }; });
}

void AddStats(CLI::App& data, Command& command) {
  auto arguments = std::make_shared<StatsArguments>();
  CLI::App* app = data.add_subcommand("stats", "Describe the data of each site, and how unlike the sites are");
  app->add_option("inputs", arguments->inputs, "A configuration with keys that win over it, or data files, each as a site")
      ->required()
      ->type_name("CONFIG.yaml [key=value]|FILE");
  AddFormatOption(*app, arguments->json);
  app->footer(kStatsExamples);
  app->callback([arguments, &command] { command.run = [arguments] { return ExecuteStats(*arguments); }; });
}

}  // namespace

void AddDataCommand(CLI::App& program, Command& command) {
  CLI::App* app = program.add_subcommand("data", "Split one data set into sites, or describe the data of sites");
  app->require_subcommand(1);
  AddSplit(*app, command);
  AddStats(*app, command);
  app->footer(kExamples);
}

}  // namespace fedalt
