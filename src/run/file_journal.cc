#include "run/file_journal.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <fcntl.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "adapter/peft_directory.h"
#include "base/file.h"
#include "model/safetensors.h"
#include "run/checkpoint_text.h"
#include "run/journal_lines.h"
#include "run/metrics_csv.h"
#include "run/results_json.h"
#include "run/tensorboard.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

int64_t SizeOf(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(size);
}

/// Cuts a file that grew after the last journal line. It may be shorter only if somebody changed it.
Status CutBack(const fs::path& path, int64_t size) {
  std::error_code error;
  if (SizeOf(path) > size) fs::resize_file(path, static_cast<uintmax_t>(size), error);
  if (error)
    return OutputError(absl::StrCat(path.string(), ": cannot be cut back to the last finished round (", error.message(), ")"));
  if (SizeOf(path) < size)
    return OutputError(absl::StrCat(path.string(), ": has ", SizeOf(path), " bytes where the journal knows of ", size,
                                    "; it was changed after the run"));
  return absl::OkStatus();
}

/// A copy, so that the file may go.
StatusOr<at::Tensor> ReadFlat(const TensorFiles& file, const std::string& name) {
  ASSIGN_OR_RETURN(const at::Tensor tensor, file.Get(name));
  return tensor.to(at::kFloat).reshape({-1}).clone();
}

/// The text of a number beside the tensors, for `parse`.
template <typename Number>
StatusOr<Number> ReadNumber(const TensorFiles& file, const std::string& name,
                            StatusOr<Number> (*parse)(std::string_view text, const std::string& what)) {
  const auto found = file.metadata().find(name);
  return parse(found == file.metadata().end() ? "" : found->second,
               absl::StrCat(file.files().front().string(), ": \"", name, "\""));
}

std::string Exact(double value) {
  return absl::StrFormat("%.17g", value);
}

constexpr char kContents[] = "contents.txt";
constexpr char kReading[] = "reading.json";

/// The names of the files of a checkpoint, one a line, sorted.
Status WriteContents(const fs::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    if (entry.is_regular_file()) names.insert(fs::relative(entry.path(), directory).string());
  return WriteFileAtomic(directory / kContents, absl::StrCat(absl::StrJoin(names, "\n"), "\n"));
}

/// A part that is missing must not pass for one that never was.
Status CheckContents(const fs::path& directory) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(directory / kContents, ErrorKind::kOutput));
  std::error_code error;
  for (absl::string_view name : absl::StrSplit(text, '\n', absl::SkipEmpty()))
    if (!fs::exists(directory / std::string(name), error))
      return OutputError(
          absl::StrCat((directory / std::string(name)).string(), " is missing; put the file back, or start the run anew"));
  return absl::OkStatus();
}

/// All tensors in the order in which they were written.
StatusOr<NamedTensors> ReadAll(const fs::path& path) {
  ASSIGN_OR_RETURN(const auto file, TensorFiles::OpenFile(path));
  std::map<uint64_t, std::string> names;
  for (const std::string& name : file->Names()) {
    ASSIGN_OR_RETURN(const TensorEntry entry, file->Describe(name));
    names.emplace(entry.begin, name);
  }
  NamedTensors tensors;
  for (const auto& [begin, name] : names) {
    ASSIGN_OR_RETURN(const at::Tensor tensor, file->Get(name));
    tensors.emplace_back(name, tensor.clone());
  }
  return tensors;
}

}  // namespace

Status FileJournal::Append(const std::string& line) {
  return AppendLine(directory_.journal(), line);
}

StatusOr<FileJournal::Content> FileJournal::Read() const {
  std::error_code error;
  std::string text;
  if (fs::exists(directory_.journal(), error)) {
    ASSIGN_OR_RETURN(text, ReadFile(directory_.journal(), ErrorKind::kOutput));
  }
  ASSIGN_OR_RETURN(const JournalLines lines, ReadJournalLines(text, directory_.journal().string()));
  Content content{{}, lines.bytes, lines.metrics_bytes, lines.csv_bytes};
  content.position.closed_round = lines.closed_round;
  content.position.joined_round = lines.joined_round;
  for (const auto& [site, report] : lines.reports) content.position.trained[site] = ReportFromJson(OrderedJson(report));
  content.position.best_round = lines.best_round;
  content.position.best_validation_loss = lines.best_validation_loss;
  return content;
}

StatusOr<int64_t> FileJournal::LastClosedRound() const {
  ASSIGN_OR_RETURN(const Content content, Read());
  return content.position.closed_round;
}

StatusOr<JournalPosition> FileJournal::Recover() {
  ASSIGN_OR_RETURN(const Content content, Read());
  RETURN_IF_ERROR(CutBack(directory_.journal(), content.journal_bytes));
  RETURN_IF_ERROR(CutBack(directory_.metrics(), content.metrics_bytes));
  RETURN_IF_ERROR(CutBack(directory_.metrics_csv(), content.csv_bytes));
  RETURN_IF_ERROR(RestoreEvents(directory_));
  best_round_ = content.position.best_round;
  return content.position;
}

Status FileJournal::LoadSite(int64_t round, Site& site) {
  const fs::path place = directory_.site(round, site.info.name);
  RETURN_IF_ERROR(CheckContents(place));
  ASSIGN_OR_RETURN(const PeftAdapter individual, ReadPeftDirectory(place / "individual"));
  RETURN_IF_ERROR(Annotate(site.adapters.SetIndividual(individual.factors), place.string()));
  if (options_.rest_of_world) {
    ASSIGN_OR_RETURN(const PeftAdapter others, ReadPeftDirectory(place / "rest_of_world"));
    RETURN_IF_ERROR(Annotate(site.adapters.SetRestOfWorld(others.factors), place.string()));
  }
  if (!site.adapters.Mixer().empty()) {
    ASSIGN_OR_RETURN(const NamedTensors mixer, ReadAll(place / "mixer.safetensors"));
    RETURN_IF_ERROR(Annotate(site.adapters.SetMixer(mixer), place.string()));
  }
  std::error_code error;
  site.train_state = TrainState{};
  if (fs::exists(place / "optimizer.safetensors", error)) {
    ASSIGN_OR_RETURN(const NamedTensors tensors, ReadAll(place / "optimizer.safetensors"));
    auto state = TrainStateFromNamed(tensors);
    if (!state.ok()) return Annotate(state.status(), place.string());
    site.train_state = std::move(state).value();
  }
  const auto read = [&](const char* file) -> StatusOr<NamedTensors> {
    if (!fs::exists(place / file, error)) return NamedTensors{};
    return ReadAll(place / file);
  };
  ASSIGN_OR_RETURN(const NamedTensors folds, read("fold.safetensors"));
  RETURN_IF_ERROR(Annotate(site.adapters.SetFolds(folds), place.string()));
  ASSIGN_OR_RETURN(site.method_state, read("method.safetensors"));
  ASSIGN_OR_RETURN(site.sent, LoadSent(round, site.info.name));
  site.read_round = site.refused_round = 0;
  if (!fs::exists(place / kReading, error)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(place / kReading, ErrorKind::kOutput));
  ASSIGN_OR_RETURN(const ReadingRounds reading, ReadingFromText(text, (place / kReading).string()));
  site.read_round = reading.read;
  site.refused_round = reading.refused;
  return absl::OkStatus();
}

StatusOr<LedgerEntry> FileJournal::LoadSent(int64_t round, const std::string& site) {
  const fs::path place = directory_.site(round, site);
  RETURN_IF_ERROR(CheckContents(place));  // then a file that is not there was never written
  LedgerEntry sent;
  std::error_code error;
  if (!fs::exists(place / "sent.safetensors", error)) return sent;
  ASSIGN_OR_RETURN(const auto file, TensorFiles::OpenFile(place / "sent.safetensors"));
  ASSIGN_OR_RETURN(sent.values, ReadFlat(*file, "sent"));
  ASSIGN_OR_RETURN(sent.weight, ReadNumber(*file, "weight", NumberFromText));
  ASSIGN_OR_RETURN(sent.round, ReadNumber(*file, "round", CountFromText));
  return sent;
}

StatusOr<std::optional<Published>> FileJournal::LoadPublished(int64_t round, const std::string& site) {
  std::error_code error;
  fs::path path = directory_.received(round, site);
  if (!fs::exists(path, error)) path = directory_.published(round);
  if (!fs::exists(path, error)) return std::optional<Published>();
  ASSIGN_OR_RETURN(const auto file, TensorFiles::OpenFile(path));
  Published published;
  published.round = round;
  ASSIGN_OR_RETURN(published.values, ReadFlat(*file, "values"));
  ASSIGN_OR_RETURN(published.total_weight, ReadNumber(*file, "total_weight", NumberFromText));
  ASSIGN_OR_RETURN(published.contributors, ReadNumber(*file, "contributors", CountFromText));
  return std::optional<Published>(std::move(published));
}

Status FileJournal::SaveSite(int64_t round, const Site& site, const TrainReport* report) {
  const fs::path place = directory_.site(round, site.info.name);
  const fs::path temporary = place.parent_path() / absl::StrCat(".part-", site.info.name);
  std::error_code error;
  fs::remove_all(temporary, error);
  if (Status status = WriteSite(temporary, site); !status.ok()) {
    fs::remove_all(temporary, error);
    return status;
  }
  // One that is there already is replaced as a whole.
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, place.c_str(), RENAME_EXCHANGE) == 0) {
    fs::remove_all(temporary, error);
  } else {
    fs::remove_all(place, error);
    fs::rename(temporary, place, error);
    if (error) return OutputError(absl::StrCat(place.string(), ": cannot be put in place (", error.message(), ")"));
  }
  RETURN_IF_ERROR(SyncDirectory(place.parent_path()));
  if (report == nullptr) return absl::OkStatus();
  return Append(OrderedJson{{"event", "site"}, {"round", round}, {"site", site.index}, {"report", ReportToJson(*report)}}.dump());
}

Status FileJournal::WriteSite(const fs::path& directory, const Site& site) const {
  RETURN_IF_ERROR(MakeDirectories(directory));
  SyncTogether together;
  const AdapterConfig& config = site.adapters.config();
  PeftMetadata metadata{options_.base_model, config.lora_alpha, config.lora_dropout, config.r, config.target_modules};
  RETURN_IF_ERROR(WritePeftDirectory(directory / "individual", site.adapters.Individual(), metadata));
  if (options_.rest_of_world) {
    const NamedTensors others = site.adapters.RestOfWorld();
    metadata.r = others.front().second.size(0);  // that of an exact mean product is larger; the scale stays
    metadata.lora_alpha = config.scale() * static_cast<double>(metadata.r);
    RETURN_IF_ERROR(WritePeftDirectory(directory / "rest_of_world", others, metadata));
  }
  if (const NamedTensors folds = site.adapters.Folds(); !folds.empty())
    RETURN_IF_ERROR(WriteSafetensors(directory / "fold.safetensors", folds));
  if (!site.method_state.empty()) RETURN_IF_ERROR(WriteSafetensors(directory / "method.safetensors", site.method_state));
  if (const NamedTensors mixer = site.adapters.Mixer(); !mixer.empty())
    RETURN_IF_ERROR(WriteSafetensors(directory / "mixer.safetensors", mixer));
  if (site.train_state.step > 0)
    RETURN_IF_ERROR(WriteSafetensors(directory / "optimizer.safetensors", NamedTrainState(site.adapters, site.train_state)));
  if (site.sent.values.defined())
    RETURN_IF_ERROR(WriteSafetensors(directory / "sent.safetensors", {{"sent", site.sent.values}},
                                     {{"weight", Exact(site.sent.weight)}, {"round", std::to_string(site.sent.round)}}));
  if (site.read_round > 0 || site.refused_round > 0)
    RETURN_IF_ERROR(WriteFileAtomic(directory / kReading, ReadingToText({site.read_round, site.refused_round})));
  RETURN_IF_ERROR(WriteContents(directory));
  return together.Commit(directory);
}

Status FileJournal::SavePublished(const Published& published, const std::optional<std::string>& site) {
  published_round_ = published.round;
  own_round_ = published.own_round;
  return WriteSafetensors(
      site ? directory_.received(published.round, *site) : directory_.published(published.round), {{"values", published.values}},
      {{"total_weight", Exact(published.total_weight)}, {"contributors", std::to_string(published.contributors)}});
}

Status FileJournal::WritePredictions(const RoundResult& result) {
  for (size_t k = 0; k < result.sites.size(); ++k) {
    const SiteRoundResult& site = result.sites[k];
    const auto& scores = site.deployed == "after_swap" ? site.after_swap : site.before_swap;
    if (!scores || scores->test.predictions.empty()) continue;
    ASSIGN_OR_RETURN(const std::shared_ptr<const SiteData> data, options_.sites->Load(k));
    const std::vector<Example>& examples = data->test.examples;
    std::string text;
    for (size_t i = 0; i < examples.size(); ++i) {
      OrderedJson line = {{"instruction", examples[i].instruction}, {"reference", examples[i].output}};
      if (!examples[i].more_outputs.empty()) line["more_references"] = examples[i].more_outputs;
      line["prediction"] = scores->test.predictions[i];
      text += line.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
    }
    const fs::path path = directory_.predictions(result.round, site.site);
    RETURN_IF_ERROR(MakeDirectories(path.parent_path()));
    RETURN_IF_ERROR(WriteFileAtomic(path, text));
  }
  return absl::OkStatus();
}

Status FileJournal::WriteMetrics(const RoundResult& result) {
  std::vector<OrderedJson> lines;
  for (const SiteRoundResult& site : result.sites) {
    lines.push_back(SiteToJson(site));
    if (published_round_ != result.round || !own_round_) continue;
    lines.back()["counted"] = *own_round_ == result.round;
    lines.back()["counted_round"] = *own_round_;
  }
  RETURN_IF_ERROR(WriteFileAtomic(directory_.result(result.round), OrderedJson(lines).dump(1) + "\n"));
  lines.push_back(MeanOf(lines));
  std::string jsonl, csv = SizeOf(directory_.metrics_csv()) == 0 ? MetricsCsvHeader() + "\n" : "";
  for (const OrderedJson& line : lines) {
    jsonl += line.dump() + "\n";
    csv += MetricsCsvLine(line) + "\n";
  }
  jsonl.pop_back();  // AppendLine adds the last line end
  csv.pop_back();
  RETURN_IF_ERROR(AppendLine(directory_.metrics(), jsonl));
  RETURN_IF_ERROR(AppendLine(directory_.metrics_csv(), csv));
  return AppendEvents(directory_, lines);
}

Status FileJournal::CloseRound(const RoundResult& result, bool is_best) {
  RETURN_IF_ERROR(MakeDirectories(directory_.round(result.round)));
  RETURN_IF_ERROR(WritePredictions(result));
  RETURN_IF_ERROR(WriteMetrics(result));
  OrderedJson line = {{"event", "round"},
                      {"round", result.round},
                      {"metrics_bytes", SizeOf(directory_.metrics())},
                      {"csv_bytes", SizeOf(directory_.metrics_csv())},
                      {"best", is_best}};
  if (result.joined) line["joined"] = true;
  if (is_best) {
    best_round_ = result.round;
    line["validation_loss"] = result.mean_validation_loss;
  }
  RETURN_IF_ERROR(Append(line.dump()));
  DeleteOldRounds(result.round);
  return absl::OkStatus();
}

void FileJournal::DeleteOldRounds(int64_t closed_round) {
  // What cannot be deleted only costs space; it never stops a run. The last closed round always stays: --resume starts from it.
  const int64_t first_kept = closed_round - std::max<int64_t>(options_.keep.last, 1) + 1;
  std::error_code error;
  std::vector<fs::path> old;
  for (const auto& entry : fs::directory_iterator(directory_.rounds(), error)) {
    int64_t round = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &round) || round >= first_kept) continue;
    if (!(options_.keep.best && round == best_round_)) old.push_back(entry.path());
  }
  for (const fs::path& path : old) fs::remove_all(path, error);
}

}  // namespace fedalt
