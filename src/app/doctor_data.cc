#include "app/doctor_data.h"

#include <absl/strings/str_replace.h>

#include <algorithm>
#include <set>

#include "data/dataset.h"

namespace fedalt {
namespace {

std::string Preview(const std::string& text) {
  constexpr size_t kShown = 300;
  std::string shown = text.substr(0, kShown);
  while (shown.size() < text.size() && !shown.empty() && (static_cast<unsigned char>(text[shown.size()]) & 0xC0) == 0x80)
    shown.pop_back();
  return absl::StrCat(absl::StrReplaceAll(shown, {{"\n", "\\n"}}), shown.size() < text.size() ? "..." : "");
}

// Lengths of the answers in tokens, EOS included.
struct AnswerLengths {
  int64_t shortest = 0, longest = 0, total = 0, beyond = 0;
};

AnswerLengths MeasureAnswers(const std::vector<TokenizedExample>& examples, int64_t limit) {
  AnswerLengths lengths;
  for (const TokenizedExample& example : examples) {
    const auto length = static_cast<int64_t>(example.tokens.size()) - example.response_begin;
    lengths.shortest = lengths.shortest == 0 ? length : std::min(lengths.shortest, length);
    lengths.longest = std::max(lengths.longest, length);
    lengths.total += length;
    lengths.beyond += length > limit ? 1 : 0;
  }
  return lengths;
}

class DataExaminer {
 public:
  DataExaminer(const RunConfig& config, const Tokenizer* tokenizer, PromptTemplate prompt_template, Findings& findings)
      : config_(config), tokenizer_(tokenizer), template_(std::move(prompt_template)), findings_(findings) {}

  void Site(const SiteFiles& site) {
    const std::vector<Example> train = File(site.name, "train", site.train);
    const std::vector<Example> test = File(site.name, "test", site.test);
    if (!site.validation.empty()) File(site.name, "validation", site.validation);
    Overlap(site.name, train, test);
    if (config_.validation > 0.0 && train.size() == 1) {
      findings_.Warn(site.name, "has one training example, so nothing is held out for validation");
    }
    if (!previewed_ && !train.empty()) ShowFirst(site.name, train.front());
  }

 private:
  std::vector<Example> File(const std::string& site, const std::string& what, const std::filesystem::path& path) {
    StatusOr<std::vector<Example>> examples = ReadExamples(path);
    if (!examples.ok()) {
      findings_.Problem(site, examples.status());
      return {};
    }
    const auto empty =
        std::count_if(examples->begin(), examples->end(), [](const Example& example) { return example.output.empty(); });
    if (empty > 0) findings_.Warn(site, absl::StrCat(empty, " of ", examples->size(), " ", what, " answers are empty"));
    if (tokenizer_ == nullptr || !tokenizer_->eos_id()) {
      findings_.Ok(site, absl::StrCat(what, ": ", examples->size(), " examples"));
      return *std::move(examples);
    }
    TokenizeReport report;
    const auto tokens = TokenizeForTraining(*examples, *tokenizer_, template_, {config_.max_length}, &report);
    if (!tokens.ok()) {
      findings_.Problem(site, Annotate(tokens.status(), path.string()));
      return *std::move(examples);
    }
    Lengths(site, what, *tokens, report);
    return *std::move(examples);
  }

  void Lengths(const std::string& site, const std::string& what, const std::vector<TokenizedExample>& tokens,
               const TokenizeReport& report) {
    const int64_t limit = config_.federation.eval.options.generate.max_new_tokens;
    const AnswerLengths lengths = MeasureAnswers(tokens, limit);
    const double mean = static_cast<double>(lengths.total) / static_cast<double>(std::max<size_t>(tokens.size(), 1));
    findings_.Ok(site, absl::StrCat(what, ": ", tokens.size(), " examples, the longest of ", report.longest, " tokens, answers of ",
                                    lengths.shortest, " to ", lengths.longest, " (mean ", absl::StrFormat("%.1f", mean), ")"));
    if (report.prompts_cut > 0) {
      findings_.Warn(
          site, absl::StrCat(report.prompts_cut, " of ", report.examples, " ", what, " prompts are longer than train.max_length ",
                             config_.max_length, " and lose ", report.tokens_cut, " tokens at their beginnings"));
    }
    if (what == "test" && lengths.beyond > 0) {
      findings_.Warn(site, absl::StrCat(lengths.beyond, " of ", tokens.size(), " test answers are longer than eval.max_new_tokens ",
                                        limit, ", so they cannot be reached"));
    }
  }

  void Overlap(const std::string& site, const std::vector<Example>& train, const std::vector<Example>& test) {
    std::set<std::pair<std::string, std::string>> known;
    for (const Example& example : train) known.emplace(example.instruction, example.input);
    const auto repeated = std::count_if(test.begin(), test.end(), [&](const Example& example) {
      return known.count({example.instruction, example.input}) > 0;
    });
    if (repeated > 0)
      findings_.Warn(
          site, absl::StrCat(repeated, " of ", test.size(), " test prompts are also training prompts; scores on them say little"));
  }

  void ShowFirst(const std::string& site, const Example& example) {
    previewed_ = true;
    const std::string prompt = template_.Render(example.instruction, example.input);
    findings_.Ok(site, absl::StrCat("first prompt (template ", template_.name(), "): ", Preview(prompt)));
    findings_.Ok(site, absl::StrCat("first answer: ", Preview(example.output)));
  }

  const RunConfig& config_;
  const Tokenizer* tokenizer_;
  PromptTemplate template_;
  Findings& findings_;
  bool previewed_ = false;
};

}  // namespace

void ExamineData(const RunConfig& config, const Tokenizer* tokenizer, Findings& findings) {
  const StatusOr<PromptTemplate> prompt_template = PromptTemplate::Named(config.prompt_template);
  if (!prompt_template.ok()) return findings.Problem("data", prompt_template.status());
  DataExaminer examiner(config, tokenizer, *prompt_template, findings);
  for (const SiteFiles& site : config.sites) examiner.Site(site);
}

}  // namespace fedalt
