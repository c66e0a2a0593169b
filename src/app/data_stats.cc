#include "app/data_stats.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <unordered_map>
#include <utility>

#include "app/text_table.h"
#include "data/data_statistics.h"
#include "data/dataset.h"
#include "data/remarks.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLabelsListed = 5;

OrderedJson LengthsToJson(std::vector<int64_t> lengths) {
  const LengthSummary summary = Summarize(std::move(lengths));
  return {{"mean", summary.mean}, {"median", summary.median}, {"p95", summary.p95}, {"max", summary.longest}};
}

OrderedJson CountsToJson(const Counts& counts, const char* name, size_t most) {
  int64_t sum = 0;
  for (const auto& [text, count] : counts) sum += count;
  OrderedJson list = OrderedJson::array();
  for (const auto& [text, count] : MostFrequent(counts, most))
    list.push_back({{name, text}, {"examples", count}, {"share", static_cast<double>(count) / static_cast<double>(sum)}});
  return list;
}

void AddTo(Counts& sum, const Counts& counts) {
  for (const auto& [text, count] : counts) sum[text] += count;
}

/// What is kept of a site until all are read.
struct SiteRecord {
  Counts labels, tags;  // of its training examples
  PromptSet train, test;
};

class Describer {
 public:
  Describer(const DataStatsRequest& request, PromptTemplate prompt_template)
      : request_(request), template_(std::move(prompt_template)) {}

  StatusOr<OrderedJson> Describe() {
    OrderedJson result = {{"sites", OrderedJson::array()}};
    for (size_t k = 0; k < request_.sites.size(); ++k) {
      ASSIGN_OR_RETURN(OrderedJson site, Site(k));
      result["sites"].push_back(std::move(site));
    }
    Between(result);
    result["warnings"] = warnings_;
    return result;
  }

 private:
  void Warn(const std::string& site, const std::vector<std::string>& remarks) {
    for (const std::string& remark : remarks) warnings_.push_back(absl::StrCat(site, ": ", remark));
  }

  StatusOr<std::vector<Example>> Read(const SiteFiles& site, const std::string& what, const fs::path& file) {
    ReadReport report;
    ASSIGN_OR_RETURN(std::vector<Example> examples, ReadExamples(file, {.fields = site.fields}, &report));
    Warn(site.name, FileRemarks(file, what, examples, report));
    return examples;
  }

  /// Warns of what a run could not write, and would cut, skip or refuse. `tokens`, `report`: of all examples, uncut.
  void OfTokens(const std::string& site, const std::string& what, const std::vector<Example>& examples,
                const std::vector<TokenizedExample>& tokens, const TokenizeReport& report) {
    std::vector<Example> longer;
    for (size_t i = 0; i < tokens.size(); ++i)
      if (static_cast<int64_t>(tokens[i].tokens.size()) > request_.lengths.max_length) longer.push_back(examples[i]);
    TokenizeReport cut;
    const auto shortened = TokenizeForTraining(longer, *request_.tokenizer, template_, request_.lengths, &cut);
    if (!shortened.ok()) Warn(site, {std::string(shortened.status().message())});
    cut.examples = report.examples;
    cut.answers_unwritable = report.answers_unwritable;
    cut.first_unwritable = report.first_unwritable;
    cut.first_written = report.first_written;
    Warn(site, TokenRemarks(what, cut, request_.lengths));
  }

  /// One set of examples: how many, labels, tags, lengths.
  StatusOr<OrderedJson> Part(const std::string& site, const std::string& what, const std::vector<Example>& examples,
                             const fs::path& file) {
    std::vector<int64_t> prompts, answers;
    prompts.reserve(examples.size());
    answers.reserve(examples.size());
    for (const Example& example : examples) {
      prompts.push_back(PromptCharacters(example));
      answers.push_back(Characters(example.output));
    }
    const Counts labels = CountLabels(examples), tags = CountTags(examples);
    OrderedJson part = {{"examples", examples.size()}, {"labels", labels.size()}};
    part["most_frequent_labels"] = CountsToJson(labels, "label", kLabelsListed);
    part["tags"] = tags.size() == 1 && tags.begin()->first.empty() ? OrderedJson::array() : CountsToJson(tags, "tag", tags.size());
    part["prompt_characters"] = LengthsToJson(std::move(prompts));
    part["answer_characters"] = LengthsToJson(std::move(answers));
    if (request_.tokenizer == nullptr) return part;
    TokenizeReport report;
    const TokenizeOptions whole = {std::numeric_limits<int32_t>::max()};
    const auto tokens = TokenizeForTraining(examples, *request_.tokenizer, template_, whole, &report);
    if (!tokens.ok()) return Annotate(tokens.status(), file.string());
    OfTokens(site, what, examples, *tokens, report);
    std::vector<int64_t> prompt_tokens, answer_tokens;
    prompt_tokens.reserve(tokens->size());
    answer_tokens.reserve(tokens->size());
    for (const TokenizedExample& example : *tokens) {
      prompt_tokens.push_back(example.response_begin);
      answer_tokens.push_back(static_cast<int64_t>(example.tokens.size()) - example.response_begin);
    }
    part["prompt_tokens"] = LengthsToJson(std::move(prompt_tokens));
    part["answer_tokens"] = LengthsToJson(std::move(answer_tokens));
    return part;
  }

  /// Adds a part and how many of its prompts are also training prompts of the site.
  Status Held(const std::string& name, const std::string& what, const std::vector<Example>& examples, const fs::path& file,
              const PromptSet& train, OrderedJson& site) {
    ASSIGN_OR_RETURN(site[what], Part(name, what, examples, file));
    const int64_t repeated = CountIn(examples, train);
    site[what]["prompts_in_train"] = repeated;
    if (repeated > 0)
      warnings_.push_back(absl::StrCat(name, ": ", repeated, " of ", examples.size(), " ", what,
                                       " prompts are also training prompts of the site; scores on them say little"));
    return absl::OkStatus();
  }

  StatusOr<OrderedJson> Site(size_t k) {
    const SiteFiles& files = request_.sites[k];
    ASSIGN_OR_RETURN(std::vector<Example> examples, Read(files, "training", files.train));
    TrainValidationSplit split;
    if (files.validation.empty()) {
      split = SplitValidation(std::move(examples), request_.validation, request_.seed, SiteAddress(files.name));
    } else {
      split.train = std::move(examples);
      ASSIGN_OR_RETURN(split.validation, Read(files, "validation", files.validation));
    }
    SiteRecord record = {CountLabels(split.train), CountTags(split.train), PromptsOf(split.train), {}};
    OrderedJson site = {{"site", files.name}};
    ASSIGN_OR_RETURN(site["train"], Part(files.name, "training", split.train, files.train));
    const int64_t again = static_cast<int64_t>(split.train.size()) - static_cast<int64_t>(record.train.size());
    site["train"]["repeated_prompts"] = again;
    if (!split.validation.empty()) {
      const fs::path& file = files.validation.empty() ? files.train : files.validation;
      RETURN_IF_ERROR(Held(files.name, "validation", split.validation, file, record.train, site));
    }
    if (!files.test.empty()) {
      ASSIGN_OR_RETURN(const std::vector<Example> test, Read(files, "test", files.test));
      record.test = PromptsOf(test);
      RETURN_IF_ERROR(Held(files.name, "test", test, files.test, record.train, site));
    }
    records_.push_back(std::move(record));
    return site;
  }

  /// What sites share, and how unlike their labels and tags are.
  void Between(OrderedJson& result) {
    Counts labels, tags;
    std::unordered_map<uint64_t, int64_t> holders;  // prompt -> sites that train on it
    for (const SiteRecord& record : records_) {
      AddTo(labels, record.labels);
      AddTo(tags, record.tags);
      for (const uint64_t prompt : record.train) ++holders[prompt];
    }
    double label_sum = 0.0, tag_sum = 0.0;
    for (size_t k = 0; k < records_.size(); ++k) {
      const SiteRecord& record = records_[k];
      OrderedJson& site = result["sites"][k];
      const auto shared = std::count_if(record.train.begin(), record.train.end(), [&](uint64_t p) { return holders.at(p) > 1; });
      const auto leaked = std::count_if(record.test.begin(), record.test.end(), [&](uint64_t prompt) {
        const auto it = holders.find(prompt);
        return it != holders.end() && it->second > static_cast<int64_t>(record.train.count(prompt));
      });
      site["train_prompts_at_other_sites"] = shared;
      if (!record.test.empty()) site["test_prompts_in_train_of_other_sites"] = leaked;
      if (leaked > 0)
        warnings_.push_back(absl::StrCat(site["site"].get<std::string>(), ": ", leaked, " of ", record.test.size(),
                                         " test prompts are training prompts of other sites, which a federation reads"));
      const double label_distance = TotalVariation(record.labels, labels), tag_distance = TotalVariation(record.tags, tags);
      site["label_distance"] = label_distance;
      site["tag_distance"] = tag_distance;
      label_sum += label_distance;
      tag_sum += tag_distance;
    }
    const auto n = static_cast<double>(std::max<size_t>(records_.size(), 1));
    result["labels"] = labels.size();
    result["tags"] = tags.size() == 1 && tags.begin()->first.empty() ? 0 : tags.size();
    result["mean_label_distance"] = label_sum / n;
    result["mean_tag_distance"] = tag_sum / n;
  }

  const DataStatsRequest& request_;
  PromptTemplate template_;
  std::vector<SiteRecord> records_;
  std::vector<std::string> warnings_;
};

std::string CountCell(const OrderedJson& site, const char* part) {
  return site.contains(part) ? absl::StrCat(site[part]["examples"].get<int64_t>()) : "-";
}

/// "mean, p95" of lengths, or "-".
std::string LengthCell(const OrderedJson& train, const char* name) {
  if (!train.contains(name)) return "-";
  return absl::StrFormat("%.0f, %d", train[name]["mean"].get<double>(), train[name]["p95"].get<int64_t>());
}

std::string MostCell(const OrderedJson& list, const char* name) {
  constexpr size_t kShown = 24;
  if (list.empty()) return "-";
  return absl::StrFormat("%s %.0f%%", Preview(list[0][name].get<std::string>(), kShown), 100.0 * list[0]["share"].get<double>());
}

}  // namespace

StatusOr<OrderedJson> DescribeData(const DataStatsRequest& request) {
  ASSIGN_OR_RETURN(PromptTemplate prompt_template, PromptTemplate::Named(request.prompt_template));
  return Describer(request, std::move(prompt_template)).Describe();
}

std::string StatsTable(const OrderedJson& stats) {
  const OrderedJson& sites = stats["sites"];
  const bool has_tokens = !sites.empty() && sites[0]["train"].contains("prompt_tokens");
  const char* unit = has_tokens ? "tokens" : "characters";
  std::vector<std::vector<std::string>> rows = {{"site", "train", "validation", "test", "labels", "most frequent", "tag",
                                                 absl::StrCat("prompt ", unit), absl::StrCat("answer ", unit), "distance"}};
  for (const OrderedJson& site : sites) {
    const OrderedJson& train = site["train"];
    rows.push_back({site["site"].get<std::string>(), CountCell(site, "train"), CountCell(site, "validation"),
                    CountCell(site, "test"), absl::StrCat(train["labels"].get<int64_t>()),
                    MostCell(train["most_frequent_labels"], "label"), MostCell(train["tags"], "tag"),
                    LengthCell(train, has_tokens ? "prompt_tokens" : "prompt_characters"),
                    LengthCell(train, has_tokens ? "answer_tokens" : "answer_characters"),
                    absl::StrFormat("%.3f", site["label_distance"].get<double>())});
  }
  std::string text = AlignTable(rows);
  absl::StrAppend(&text, "labels, tag and lengths (mean, 95th percentile) are those of the training examples\n");
  absl::StrAppend(&text,
                  absl::StrFormat("distance of a site's labels from those of all sites: %.3f in the mean, of its tags %.3f (0: the "
                                  "same, 1: nothing in common)\n",
                                  stats["mean_label_distance"].get<double>(), stats["mean_tag_distance"].get<double>()));
  int64_t shared = 0;
  for (const OrderedJson& site : sites) shared += site["train_prompts_at_other_sites"].get<int64_t>() > 0 ? 1 : 0;
  if (shared > 0) absl::StrAppend(&text, shared, " of ", sites.size(), " sites have training prompts that other sites have too\n");
  return text;
}

}  // namespace fedalt
