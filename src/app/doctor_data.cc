#include "app/doctor_data.h"

#include <algorithm>

#include "app/text_table.h"
#include "base/strict_json.h"
#include "data/data_statistics.h"
#include "data/dataset.h"
#include "data/remarks.h"
#include "train/rouge.h"

namespace fedalt {
namespace {

/// Lengths of the answers in tokens, EOS included.
std::vector<int64_t> AnswerLengths(const std::vector<TokenizedExample>& examples) {
  std::vector<int64_t> lengths;
  lengths.reserve(examples.size());
  for (const TokenizedExample& example : examples)
    lengths.push_back(static_cast<int64_t>(example.tokens.size()) - example.response_begin);
  return lengths;
}

class DataExaminer {
 public:
  DataExaminer(const RunConfig& config, const Tokenizer* tokenizer, PromptTemplate prompt_template, Findings& findings)
      : config_(config), tokenizer_(tokenizer), template_(std::move(prompt_template)), findings_(findings) {}

  void Site(const SiteFiles& site) {
    const std::vector<Example> train = File(site, "training", site.train);
    const std::vector<Example> test = File(site, "test", site.test);
    Warn(site.name, OverlapRemarks("test", test, train));
    if (!site.validation.empty()) Warn(site.name, OverlapRemarks("validation", File(site, "validation", site.validation), train));
    if (config_.validation > 0.0 && train.size() == 1) {
      findings_.Warn(site.name, "has one training example, so nothing is held out for validation");
    }
    if (!previewed_ && !train.empty()) ShowFirst(site.name, train.front());
  }

 private:
  void Warn(const std::string& site, const std::vector<std::string>& remarks) {
    for (const std::string& remark : remarks) findings_.Warn(site, remark);
  }

  std::vector<Example> File(const SiteFiles& files, const std::string& what, const std::filesystem::path& path) {
    const std::string& site = files.name;
    ReadReport read;
    StatusOr<std::vector<Example>> examples = ReadExamples(path, {.fields = files.fields}, &read);
    if (!examples.ok()) {
      findings_.Problem(site, examples.status());
      return {};
    }
    Warn(site, FileRemarks(path, what, *examples, read));
    if (what == "test") Scripts(site, *examples);
    if (tokenizer_ == nullptr || !tokenizer_->eos_id()) {
      findings_.Ok(site, absl::StrCat(what, ": ", examples->size(), " examples"));
      return *std::move(examples);
    }
    TokenizeReport report;
    const TokenizeOptions options{config_.max_length, config_.too_long};
    const auto tokens = TokenizeForTraining(*examples, *tokenizer_, template_, options, &report);
    if (!tokens.ok()) {
      findings_.Problem(site, Annotate(tokens.status(), path.string()));
      return *std::move(examples);
    }
    Lengths(site, what, *tokens, report);
    Warn(site, TokenRemarks(what, report, options));
    return *std::move(examples);
  }

  void Scripts(const std::string& site, const std::vector<Example>& test) {
    const auto beyond =
        std::count_if(test.begin(), test.end(), [](const Example& example) { return HasWordsBeyondLatin(example.output); });
    if (beyond > 0)
      findings_.Ok(site, absl::StrCat(beyond, " of ", test.size(),
                                      " test answers have words in other scripts than Latin; ROUGE counts them as "
                                      "docs/metrics.md says (rouge_score would see none)"));
  }

  void Lengths(const std::string& site, const std::string& what, const std::vector<TokenizedExample>& tokens,
               const TokenizeReport& report) {
    const int64_t limit = config_.federation.eval.options.generate.max_new_tokens;
    const std::vector<int64_t> answers = AnswerLengths(tokens);
    const LengthSummary lengths = Summarize(answers);
    const auto beyond = std::count_if(answers.begin(), answers.end(), [limit](int64_t length) { return length > limit; });
    findings_.Ok(site,
                 absl::StrCat(what, ": ", tokens.size(), " examples, the longest of ", report.longest, " tokens, answers of ",
                              lengths.shortest, " to ", lengths.longest, " (mean ", absl::StrFormat("%.1f", lengths.mean), ")"));
    if (what == "test" && beyond > 0) {
      findings_.Warn(site, absl::StrCat(beyond, " of ", tokens.size(), " test answers are longer than eval.max_new_tokens ", limit,
                                        ", so they cannot be reached"));
    }
  }

  void ShowFirst(const std::string& site, const Example& example) {
    constexpr size_t kShown = 300;
    previewed_ = true;
    const std::string prompt = template_.Render(example.instruction, example.input);
    findings_.Ok(site, absl::StrCat("first prompt (template ", QuoteForMessage(template_.name()), "): ", Preview(prompt, kShown)));
    findings_.Ok(site, absl::StrCat("first answer: ", Preview(example.output, kShown)));
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
