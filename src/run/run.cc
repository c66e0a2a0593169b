#include "run/run.h"

#include <ATen/Parallel.h>
#include <absl/strings/match.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_replace.h>
#include <torch/version.h>

#include <chrono>
#include <cmath>

#include "adapter/peft_directory.h"
#include "base/cpu_kernels.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/progress.h"
#include "base/strict_json.h"
#include "fed/exchange.h"
#include "fed/local_transport.h"
#include "fed/model_after.h"
#include "model/device.h"
#include "report/report.h"
#include "run/cross_site.h"
#include "run/file_journal.h"
#include "run/run_directory.h"
#include "run/run_format.h"
#include "train/library_errors.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

/// What same bits depend on, beside configuration and data.
OrderedJson Environment(const RunConfig& config) {
  const Machine machine = DescribeMachine();
  const bool cuda = config.device == "cuda";
  return {{"run_format", kRunFormat},
          {"cpu", machine.cpu_model},
          {"avx2", machine.avx2},
          {"avx512", machine.avx512},
          {"kernels", CpuKernelsName(ActiveCpuKernels())},
          {"threads", at::get_num_threads()},
          {"sites_at_once", config.federation.sites_at_once},
          {"dtype", config.dtype},
          {"device", config.device},
          {"device_name", DeviceName(cuda ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU), DescribeCuda())},
          {"libtorch", TORCH_VERSION}};
}

fs::path EnvironmentFile(const RunDirectory& directory) {
  return directory.root() / "environment.json";
}

Status WarnIfElsewhere(const RunDirectory& directory, const RunConfig& config) {
  const fs::path path = EnvironmentFile(directory);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, ErrorKind::kOutput));
  if (text != Environment(config).dump(1) + "\n")
    LogWarning(
        absl::StrCat("this run was started in another environment (", path.string(), "): it goes on, but not with the same bits"));
  return absl::OkStatus();
}

/// How many sites work at once may depend on the memory that was free when the run began, and the bits on how many threads a site
/// has: a run goes on as it began.
void KeepSitesAtOnce(const RunDirectory& directory, RunConfig& config) {
  const StatusOr<std::string> text = ReadFile(directory.root() / "environment.json", ErrorKind::kOutput);
  if (!config.sites_at_once_auto || !text.ok()) return;
  const auto begun = OrderedJson::parse(*text, nullptr, false);
  constexpr int64_t kMost = 4096;
  const auto number = [&](const char* name) {
    return begun.is_object() && begun.contains(name) && begun[name].is_number_integer() ? begun[name].get<int64_t>() : 0;
  };
  const int64_t sites = number("sites_at_once");
  if (number("threads") != at::get_num_threads() || sites < 1 || sites > kMost) return;
  config.federation.sites_at_once = sites;
  config.sites_at_once_auto = false;
}

/// The adapter that a site starts from, in the run's scale: where its own differs (another lora_alpha, rsLoRA), B is multiplied by
/// the ratio, so that it means what it did. Errors: kModel, kConfig (another r).
StatusOr<NamedTensors> InitialAdapter(const RunConfig& config, size_t site, bool tell) {
  const auto place =
      config.all_sites.empty()
          ? static_cast<int64_t>(site)
          : std::find(config.all_sites.begin(), config.all_sites.end(), config.sites[site].name) - config.all_sites.begin();
  const std::string path = absl::StrReplaceAll(config.initial_adapter.string(), {{"{site}", std::to_string(place)}});
  ASSIGN_OR_RETURN(PeftAdapter adapter, ReadPeftDirectory(path));
  const AdapterConfig& wanted = config.federation.adapter;
  if (adapter.metadata.r != wanted.r)
    return ConfigError(absl::StrFormat("%s: has r %d, but adapter.r is %d; set adapter.r: %d", path, adapter.metadata.r, wanted.r,
                                       adapter.metadata.r));
  constexpr double kSame = 1e-6;  // lora_alpha is often rounded
  const double ratio = adapter.metadata.scale() / wanted.scale();
  if (std::abs(ratio - 1.0) <= kSame) return std::move(adapter.factors);
  if (tell)
    LogInfo(absl::StrFormat("adapter.init_from: %s has the scale %g (lora_alpha / r), this run %g; its B is multiplied by %g", path,
                            adapter.metadata.scale(), wanted.scale(), ratio));
  for (auto& [name, factor] : adapter.factors)
    if (absl::EndsWith(name, ".lora_B.weight")) factor.mul_(ratio);
  return std::move(adapter.factors);
}

FileJournal::Options JournalOptions(const LoadedRun& run, const Method& method) {
  return {run.config.keep, method.has_rest_of_world(), run.config.model.string(), run.sites.get()};
}

/// The results of the last closed round as they were recorded, so that a resumed run says the same as an undisturbed one.
StatusOr<std::vector<OrderedJson>> RecordedResults(const RunDirectory& directory, int64_t round) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(directory.result(round), ErrorKind::kOutput));
  auto json = OrderedJson::parse(text, nullptr, false);
  if (!json.is_array())
    return OutputError(absl::StrCat(directory.result(round).string(), ": is damaged; the run cannot tell its result"));
  return json.get<std::vector<OrderedJson>>();
}

/// Which model of a round a site uses: the one that the run recorded, because the choice may be by validation data.
StatusOr<Moment> DeployedMoment(const RunDirectory& directory, const Method& method, int64_t round, const std::string& site) {
  ASSIGN_OR_RETURN(const std::vector<OrderedJson> results, RecordedResults(directory, round));
  for (const OrderedJson& result : results) {
    const OrderedJson *name = FindField(result, "site"), *deployed = FindField(result, "deployed");
    if (name == nullptr || deployed == nullptr || *name != site) continue;
    const OrderedJson* measured = FindField(result, "before_swap");
    if (measured == nullptr || !measured->is_object()) return UnmeasuredMoment(method);
    return *deployed == NameOf(Moment::kAfterSwap) ? Moment::kAfterSwap : Moment::kBeforeSwap;
  }
  return OutputError(absl::StrCat(directory.result(round).string(), ": has no result of site ", site, "; is the file damaged?"));
}

std::string Megabytes(int64_t bytes) {
  return absl::StrFormat("%.0f MB", static_cast<double>(bytes) / 1e6);
}

std::string MemoryText(const MemoryPlan& plan) {
  return absl::StrCat("memory   expects a peak of ", Megabytes(plan.total()), ", in ", plan.greatest_phase(), " (program and data ",
                      Megabytes(plan.program), ", weights ", Megabytes(plan.base), ", sites at work ", Megabytes(plan.adapters),
                      ", batches ", Megabytes(plan.activations()), "); ", Megabytes(plan.available), " available ",
                      MemoryBoundName(plan.bound), "; ", plan.sites_at_once, plan.sites_at_once == 1 ? " site" : " sites",
                      " at once");
}

StatusOr<OrderedJson> Execute(LoadedRun& run, const RunDirectory& directory, const Elsewhere& elsewhere) {
  Transport* const others = elsewhere.transport.get();
  if (!run.config.all_sites.empty() && others == nullptr)
    return UsageError(
        absl::StrCat(directory.root().string(), " belongs to one site of a federation across machines; go on with fedalt site"));
  for (const std::string& note : run.notes) LogWarning(note);
  const MemoryPlan& plan = run.plan;
  LogInfo(MemoryText(plan));
  ASSIGN_OR_RETURN(const auto method, MakeMethod(run.config.federation.method));
  LocalTransport here(method->ledger_policy(), method->needs());
  Transport& transport = others != nullptr ? *others : here;
  FileJournal journal(directory, JournalOptions(run, *method));
  std::unique_ptr<Progress> progress;
  FederationHooks hooks;
  hooks.should_stop = InterruptRequested;
  hooks.on_progress = [&](int64_t done, int64_t total, const std::string& note) {
    if (!progress) progress = std::make_unique<Progress>(total, method->name(), done);
    progress->Update(done, note);
  };
  FederationInputs inputs{run.model.get(), run.tokenizer.get(),  run.sites.get(),
                          nullptr,         run.config.all_sites, elsewhere.pinned_round};
  if (!run.config.initial_adapter.empty()) {
    inputs.initial_individual = [&run](size_t site) { return InitialAdapter(run.config, site, /*tell=*/false); };
    for (size_t k = 0; k < run.config.sites.size(); ++k)  // good to begin?
      RETURN_IF_ERROR(InitialAdapter(run.config, k, /*tell=*/true).status());
  }
  const auto stopped = [&](const Status& status) {
    progress.reset();
    if (KindOf(status) != ErrorKind::kInterrupted) return status;
    const std::string command =
        others != nullptr ? " the same command" : absl::StrCat(": fedalt run --resume ", directory.root().string());
    return InterruptedError(absl::StrCat(status.message(), "; nothing is lost, go on with", command));
  };
  StatusOr<RunSummary> summary = RunSummary();
  const Status ran = CatchLibraryErrors("the run", [&] {
    summary = RunFederation(inputs, run.config.federation, transport, journal, hooks);
    return summary.status();
  });
  if (!ran.ok()) return stopped(ran);
  if (progress) progress->Finish();
  if (HasCrossSite(run)) {
    const StatusOr<OrderedJson> cross_site = CrossSiteLosses(run, directory.root());
    if (!cross_site.ok()) return stopped(cross_site.status());
    RETURN_IF_ERROR(WriteFileAtomic(directory.cross_site(), cross_site->dump() + "\n"));
  }
  if (run.config.device == "cpu")
    LogInfo(absl::StrCat("memory   had its peak at ", Megabytes(PeakResident()), ", expected ", Megabytes(plan.total())));
  ASSIGN_OR_RETURN(const int64_t last_round, journal.LastClosedRound());
  ASSIGN_OR_RETURN(const std::vector<OrderedJson> sites, RecordedResults(directory, last_round));
  OrderedJson json = SummaryToJson(*summary, sites);
  RETURN_IF_ERROR(WriteFileAtomic(directory.summary(), json.dump(1) + "\n"));
  WriteReportOrWarn(directory.root());
  return json;
}

/// Execute; log.txt says how it ended.
StatusOr<RunOutcome> ExecuteAndLog(LoadedRun& run, const RunDirectory& directory, const Elsewhere& elsewhere) {
  StatusOr<OrderedJson> summary = Execute(run, directory, elsewhere);
  if (summary.ok())
    LogInFile(LogLevel::kInfo, "finished");
  else
    LogInFile(KindOf(summary.status()) == ErrorKind::kInterrupted ? LogLevel::kWarning : LogLevel::kError,
              std::string(summary.status().message()));
  CloseLogFile();
  if (!summary.ok()) return std::move(summary).status();
  return RunOutcome{*std::move(summary), false};
}

}  // namespace

StatusOr<RunOutcome> StartRun(const RunConfig& config, const std::string& resolved_yaml, const fs::path& root,
                              const ConnectTransport& connect) {
  RETURN_IF_ERROR(CheckMethod(config.federation));
  if (!connect && config.federation.max_norm > 0.0)
    return ConfigError(
        "contribution.max_norm is for a federation across machines, whose server looks at what strangers send; leave "
        "it off where all sites are on one machine");
  ASSIGN_OR_RETURN(LoadedRun run, PrepareLoading(config));
  RETURN_IF_ERROR(LoadAll(run));
  Elsewhere elsewhere;
  if (connect) {
    ASSIGN_OR_RETURN(elsewhere, connect(run));  // before anything is written: the other end may refuse
  }
  ASSIGN_OR_RETURN(RunDirectory directory, RunDirectory::Create(root));
  RETURN_IF_ERROR(directory.Lock());
  RETURN_IF_ERROR(WriteFileAtomic(EnvironmentFile(directory), Environment(run.config).dump(1) + "\n"));
  RETURN_IF_ERROR(WriteFileAtomic(directory.started(), RunDirectory::StartedText(resolved_yaml)));
  RETURN_IF_ERROR(WriteFileAtomic(directory.config(), resolved_yaml));
  RETURN_IF_ERROR(LogToFile(directory.log()));
  LogInfo(absl::StrCat("run in ", directory.root().string()));
  return ExecuteAndLog(run, directory, elsewhere);
}

StatusOr<RunOutcome> ResumeRun(const RunConfig& config, const fs::path& root, const ConnectTransport& connect) {
  ASSIGN_OR_RETURN(RunDirectory directory, RunDirectory::Open(root));
  RETURN_IF_ERROR(directory.Lock());
  RETURN_IF_ERROR(CheckRunFormat(directory.root()));
  std::error_code error;
  if (fs::exists(directory.summary(), error)) {
    ASSIGN_OR_RETURN(const std::string text, ReadFile(directory.summary(), ErrorKind::kOutput));
    OrderedJson summary = OrderedJson::parse(text, nullptr, false);
    if (!summary.is_object())
      return OutputError(absl::StrCat(directory.summary().string(), ": is damaged; delete it and resume again"));
    return RunOutcome{std::move(summary), true};
  }
  ASSIGN_OR_RETURN(LoadedRun run, PrepareLoading(config));
  KeepSitesAtOnce(directory, run.config);
  RETURN_IF_ERROR(LoadAll(run));
  RETURN_IF_ERROR(LogToFile(directory.log()));
  RETURN_IF_ERROR(WarnIfElsewhere(directory, run.config));
  LogInfo(absl::StrCat("resumed in ", directory.root().string()));
  Elsewhere elsewhere;
  if (connect) {
    ASSIGN_OR_RETURN(elsewhere, connect(run));
  }
  return ExecuteAndLog(run, directory, elsewhere);
}

StatusOr<SiteModel> LoadSiteModel(const LoadedRun& run, const fs::path& root, const std::string& site_name, int64_t round) {
  ASSIGN_OR_RETURN(const RunDirectory directory, RunDirectory::Open(root));
  ASSIGN_OR_RETURN(auto method, MakeMethod(run.config.federation.method));
  int64_t index = -1;
  std::vector<std::string> names;
  for (const SiteFiles& files : run.config.sites) {
    if (files.name == site_name) index = static_cast<int64_t>(names.size());
    names.push_back(files.name);
  }
  if (index < 0)
    return UsageError(absl::StrCat("site \"", site_name, "\" is not in this run; its sites are ", absl::StrJoin(names, ", ")));
  FileJournal journal(directory, JournalOptions(run, *method));
  if (round == 0) {
    ASSIGN_OR_RETURN(round, journal.LastClosedRound());
  }
  std::error_code error;
  if (round == 0 || !fs::exists(directory.result(round), error))
    return UsageError(absl::StrCat("round ", round, " is not kept in ", root.string(), "; look into ", directory.rounds().string(),
                                   " for those that are"));
  const bool pools = method->pools_data();
  const SiteInfo info{pools ? kPooledSite : site_name, 0};
  const FederationInputs inputs{run.model.get(), run.tokenizer.get(), nullptr, nullptr};
  const ModelSource source{inputs, run.config.federation, *method, journal,
                           [&](int64_t of, const std::string& reader) { return RecordedPublication(journal, of, reader); }};
  ASSIGN_OR_RETURN(const Moment moment, DeployedMoment(directory, *method, round, site_name));
  ASSIGN_OR_RETURN(auto site, UsedModelAfter(source, round, moment, pools ? 0 : index, info));
  SiteModel model;
  model.round = round;
  model.swapped = moment == Moment::kAfterSwap;
  model.site = std::move(site);
  model.method = std::move(method);
  return model;
}

}  // namespace fedalt
