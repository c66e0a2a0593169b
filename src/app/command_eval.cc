// fedalt eval: the personalised models of a run on their test data, or on other data.
#include <CLI/CLI.hpp>
#include <memory>

#include "app/command.h"
#include "app/open_run.h"
#include "app/result_table.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "fed/site_evaluation.h"

namespace fedalt {
namespace {

constexpr char kExamples[] =
    "Examples:\n"
    "  fedalt eval runs/mine                                  every site on its own test data\n"
    "  fedalt eval runs/mine --site site-0 --data other.jsonl\n"
    "  fedalt eval runs/mine --round 5 --format json";

struct EvalArguments {
  std::string directory;
  std::string site;
  std::string data;
  std::string device;
  int64_t round = 0;
  bool json = false;
};

StatusOr<OrderedJson> EvaluateSite(const EvalArguments& arguments, LoadedRun& run, const std::string& name, Progress& progress,
                                   int64_t& done) {
  ASSIGN_OR_RETURN(const SiteData data, LoadTestData(run, name, arguments.data));
  ASSIGN_OR_RETURN(SiteModel model, LoadSiteModel(run, arguments.directory, name, arguments.round));
  const FederationInputs inputs{run.model.get(), run.tokenizer.get(), nullptr, nullptr};
  EvalOptions options = run.config.federation.eval.options;
  options.generate.progress = [&](int64_t examples) {
    progress.Update(done + examples, name);
    return !InterruptRequested();
  };
  ASSIGN_OR_RETURN(SiteScores scores,
                   ScoreSite(inputs, *model.method, *model.site, data, options, model.site->adapters.mode().branches));
  done += static_cast<int64_t>(data.test.examples.size());
  progress.Update(done, name);
  SiteRoundResult result;
  result.site = name;
  result.round = model.round;
  result.deployed = model.swapped ? "after_swap" : "before_swap";
  (model.swapped ? result.after_swap : result.before_swap) = std::move(scores);
  OrderedJson json = SiteToJson(result);
  json["examples"] = data.test.examples.size();
  for (const char* of_a_round :
       {"participated", "train_loss", "train_steps", "train_tokens", "tokens_per_s", "bytes_up", "bytes_down", "before_swap",
        "after_swap", "ablations", "mean_individual_weight", "gain_from_others", "validation_loss"}) {
    json.erase(of_a_round);
  }
  return json;
}

Status Execute(const EvalArguments& arguments) {
  ASSIGN_OR_RETURN(LoadedRun run, OpenRun(arguments.directory, arguments.device));
  const std::vector<std::string> names = arguments.site.empty() ? SiteNames(run.config) : std::vector<std::string>{arguments.site};
  Progress progress(0, "evaluation");
  int64_t done = 0;
  std::vector<OrderedJson> sites;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(OrderedJson site, EvaluateSite(arguments, run, name, progress, done));
    sites.push_back(std::move(site));
  }
  progress.Finish();
  OrderedJson summary;
  summary["run_dir"] = arguments.directory;
  summary["method"] = run.config.federation.method.name;
  summary["preset"] = run.config.federation.method.preset;
  summary["data"] = arguments.data.empty() ? OrderedJson(nullptr) : OrderedJson(arguments.data);
  summary["round"] = sites.front()["round"];
  summary["sites"] = sites;
  summary["mean"] = MeanOf(sites);
  summary["worst"] = WorstOf(sites);
  if (arguments.json) return WriteResult(summary.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
  return WriteResult(ScoreTable(summary));
}

}  // namespace

void AddEvalCommand(CLI::App& program, Command& command) {
  auto arguments = std::make_shared<EvalArguments>();
  CLI::App* app = program.add_subcommand("eval", "Evaluate the personalised models of a run");
  app->add_option("run_dir", arguments->directory, "Directory of the run")->required()->type_name("RUN_DIR");
  app->add_option("--site", arguments->site, "Only this site (default: every site)")->type_name("NAME");
  app->add_option("--data", arguments->data, "Examples to evaluate on, json or jsonl (default: the site's test data)")
      ->type_name("FILE");
  app->add_option("--round", arguments->round, "Round whose models are used (default: the last)")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber);
  AddDeviceOption(*app, arguments->device);
  AddFormatOption(*app, arguments->json);
  app->footer(kExamples);
  app->callback([arguments, &command] { command.run = [arguments] { return Execute(*arguments); }; });
}

}  // namespace fedalt
