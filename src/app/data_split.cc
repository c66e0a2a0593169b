#include "app/data_split.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "app/text_table.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "data/data_statistics.h"
#include "data/remarks.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

/// The examples of some files one after the other.
struct Inputs {
  std::vector<Example> examples;
  OrderedJson files = OrderedJson::array();  // file, sha256, examples
};

const char* RuleName(SplitRule rule) {
  switch (rule) {
    case SplitRule::kTask:
      return "task";
    case SplitRule::kLabel:
      return "label";
    case SplitRule::kRandom:
      break;
  }
  return "random";
}

/// A file whose examples name no task is one task, named like the file, where there are several files.
Status NameTask(const fs::path& file, bool is_alone, std::map<std::string, fs::path>& stems, std::vector<Example>& examples) {
  const auto bare = std::count_if(examples.begin(), examples.end(), [](const Example& example) { return example.tag.empty(); });
  if (bare == 0) return absl::OkStatus();
  if (bare < static_cast<int64_t>(examples.size()))
    return DataError(absl::StrCat(file.string(), ": ", bare, " of ", examples.size(),
                                  " examples name no task, the others do; give all of them a \"task\""));
  if (is_alone)
    return DataError(absl::StrCat(file.string(),
                                  ": its examples name no task (\"task\", \"tag\" or \"category\"), so they cannot be "
                                  "split by task; add the field, or give one file per task"));
  const std::string task = file.stem().string();
  const auto [it, is_new] = stems.try_emplace(task, file);
  if (!is_new)
    return DataError(absl::StrCat(it->second.string(), " and ", file.string(), " are both named \"", task,
                                  "\" and their examples name no task; rename one or add the field \"task\""));
  for (Example& example : examples) example.tag = task;
  return absl::OkStatus();
}

StatusOr<Inputs> ReadInputs(const std::vector<fs::path>& files, SplitRule rule) {
  Inputs inputs;
  std::map<std::string, fs::path> hashes, stems;
  for (const fs::path& file : files) {
    ASSIGN_OR_RETURN(const std::string bytes, ReadFile(file, ErrorKind::kData));
    const std::string hash = HexOf(Sha256(bytes));
    const auto [it, is_new] = hashes.try_emplace(hash, file);
    if (!is_new)
      return DataError(absl::StrCat(it->second.string(), " and ", file.string(), " hold the same bytes; give each input once"));
    ReadReport report;
    ASSIGN_OR_RETURN(std::vector<Example> examples, ParseExamples(bytes, file.string(), {}, &report));
    for (const std::string& remark : FileRemarks(file, "its", examples, report)) LogWarning(remark);
    if (rule == SplitRule::kTask) RETURN_IF_ERROR(NameTask(file, files.size() == 1, stems, examples));
    inputs.files.push_back({{"file", file.string()}, {"sha256", hash}, {"examples", examples.size()}});
    std::move(examples.begin(), examples.end(), std::back_inserter(inputs.examples));
  }
  return inputs;
}

std::string Line(const Example& example) {
  OrderedJson json = {{"instruction", example.instruction}};
  if (!example.input.empty()) json["input"] = example.input;
  json["output"] = example.output;
  if (!example.more_outputs.empty()) {
    json["output"] = OrderedJson::array({example.output});
    for (const std::string& output : example.more_outputs) json["output"].push_back(output);
  }
  if (!example.tag.empty()) json["task"] = example.tag;
  return json.dump();
}

/// One array per site.
Status WriteTrain(const fs::path& folder, const SiteSplit& split, const std::vector<Example>& examples) {
  RETURN_IF_ERROR(MakeDirectories(folder));
  for (size_t k = 0; k < split.sites.size(); ++k) {
    std::string text;
    for (const size_t place : split.sites[k].train) absl::StrAppend(&text, text.empty() ? "[\n" : ",\n", Line(examples[place]));
    RETURN_IF_ERROR(WriteFileAtomic(folder / absl::StrCat("local_training_", k, ".json"), text + "\n]\n"));
  }
  return absl::OkStatus();
}

/// One example per line.
Status WriteTest(const fs::path& folder, const SiteSplit& split, const std::vector<Example>& examples) {
  RETURN_IF_ERROR(MakeDirectories(folder));
  for (size_t k = 0; k < split.sites.size(); ++k) {
    std::string text;
    for (const size_t place : split.sites[k].test) absl::StrAppend(&text, Line(examples[place]), "\n");
    RETURN_IF_ERROR(WriteFileAtomic(folder / absl::StrCat("local_testing_", k, ".jsonl"), text));
  }
  return absl::OkStatus();
}

std::string ConfigStub(size_t sites, bool has_tests) {
  return absl::StrCat(
      "# Made by fedalt data split; split.json says how. Give it a model, then: fedalt run config.yaml\n"
      "model: path/to/model  # a directory as Hugging Face transformers writes it\n"
      "data:\n"
      "  train: train/local_training_{site}.json\n",
      has_tests ? "  test: test/local_testing_{site}.jsonl\n"
                : "  # test: no share was held out (--test 0); name the file of the test examples here\n",
      "sites: ", sites, "\n");
}

OrderedJson Describe(const DataSplitRequest& request, const SiteSplit& split, const Inputs& inputs, const Inputs& tests) {
  const SplitOptions& options = request.options;
  OrderedJson json = {{"by", RuleName(options.rule)}, {"seed", options.seed}};
  if (options.rule == SplitRule::kTask) json["sites_per_task"] = options.sites_per_task;
  if (options.rule == SplitRule::kLabel) json["alpha"] = options.alpha;
  json["test_share"] = request.tests.empty() ? OrderedJson(options.test_share) : OrderedJson(nullptr);
  json["min_examples"] = options.min_examples;
  json["limit"] = options.limit > 0 ? OrderedJson(options.limit) : OrderedJson(nullptr);
  json["inputs"] = inputs.files;
  json["test_inputs"] = tests.files;
  json["left_out"] = split.left_out.size();
  json["moved"] = split.moved;
  json["sites"] = OrderedJson::array();
  for (size_t k = 0; k < split.sites.size(); ++k) {
    const SplitSite& site = split.sites[k];
    std::vector<Example> train;
    train.reserve(site.train.size());
    for (const size_t place : site.train) train.push_back(inputs.examples[place]);
    OrderedJson line = {{"site", absl::StrCat("site-", k)}};
    if (options.rule == SplitRule::kTask) line["task"] = site.task;
    line["train"] = site.train.size();
    line["test"] = site.test.size();
    line["train_labels"] = CountLabels(train).size();
    line["train_tasks"] = CountTags(train).size();
    json["sites"].push_back(std::move(line));
  }
  return json;
}

}  // namespace

StatusOr<OrderedJson> SplitData(const DataSplitRequest& request) {
  RETURN_IF_ERROR(CheckNewOrEmpty(request.out));  // before the inputs are read
  ASSIGN_OR_RETURN(const Inputs inputs, ReadInputs(request.inputs, request.options.rule));
  ASSIGN_OR_RETURN(const Inputs tests, ReadInputs(request.tests, request.options.rule));
  ASSIGN_OR_RETURN(SiteSplit split, SplitIntoSites(inputs.examples, request.options));
  if (!request.tests.empty()) RETURN_IF_ERROR(DealTests(tests.examples, request.options.seed, split));
  const bool has_tests = !request.tests.empty() || request.options.test_share > 0.0;
  const std::vector<Example>& test_examples = request.tests.empty() ? inputs.examples : tests.examples;
  const OrderedJson described = Describe(request, split, inputs, tests);
  const auto fill = [&](const fs::path& folder) -> Status {
    RETURN_IF_ERROR(WriteTrain(folder / "train", split, inputs.examples));
    if (has_tests) RETURN_IF_ERROR(WriteTest(folder / "test", split, test_examples));
    const std::string text = described.dump(1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
    RETURN_IF_ERROR(WriteFileAtomic(folder / "split.json", text));
    return WriteFileAtomic(folder / "config.yaml", ConfigStub(split.sites.size(), has_tests));
  };
  RETURN_IF_ERROR(WriteDirectoryAtomic(request.out, fill));
  return described;
}

std::string SplitTable(const OrderedJson& split) {
  constexpr size_t kShown = 40;
  const bool by_task = split["by"] == "task";
  std::vector<std::vector<std::string>> rows = {{"site", "train", "test", "labels in train"}};
  if (by_task) rows.front().push_back("task");
  for (const OrderedJson& site : split["sites"]) {
    std::vector<std::string> row = {site["site"].get<std::string>()};
    for (const char* key : {"train", "test", "train_labels"}) row.push_back(absl::StrCat(site[key].get<int64_t>()));
    if (by_task) row.push_back(Preview(site["task"].get<std::string>(), kShown));
    rows.push_back(std::move(row));
  }
  return AlignTable(rows);
}

}  // namespace fedalt
