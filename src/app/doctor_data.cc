#include "app/doctor_data.h"

#include <algorithm>

#include "app/text_table.h"
#include "data/data_statistics.h"
#include "data/dataset.h"

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
    const std::vector<int64_t> answers = AnswerLengths(tokens);
    const LengthSummary lengths = Summarize(answers);
    const auto beyond = std::count_if(answers.begin(), answers.end(), [limit](int64_t length) { return length > limit; });
    findings_.Ok(site,
                 absl::StrCat(what, ": ", tokens.size(), " examples, the longest of ", report.longest, " tokens, answers of ",
                              lengths.shortest, " to ", lengths.longest, " (mean ", absl::StrFormat("%.1f", lengths.mean), ")"));
    if (const std::string unwritable = UnwritableAnswers(report, what); !unwritable.empty()) findings_.Warn(site, unwritable);
    if (report.prompts_cut > 0) {
      findings_.Warn(
          site, absl::StrCat(report.prompts_cut, " of ", report.examples, " ", what, " prompts are longer than train.max_length ",
                             config_.max_length, " and lose ", report.tokens_cut, " tokens at their beginnings"));
    }
    if (what == "test" && beyond > 0) {
      findings_.Warn(site, absl::StrCat(beyond, " of ", tokens.size(), " test answers are longer than eval.max_new_tokens ", limit,
                                        ", so they cannot be reached"));
    }
  }

  void Overlap(const std::string& site, const std::vector<Example>& train, const std::vector<Example>& test) {
    const int64_t repeated = CountIn(test, PromptsOf(train));
    if (repeated > 0)
      findings_.Warn(
          site, absl::StrCat(repeated, " of ", test.size(), " test prompts are also training prompts; scores on them say little"));
  }

  void ShowFirst(const std::string& site, const Example& example) {
    constexpr size_t kShown = 300;
    previewed_ = true;
    const std::string prompt = template_.Render(example.instruction, example.input);
    findings_.Ok(site, absl::StrCat("first prompt (template ", template_.name(), "): ", Preview(prompt, kShown)));
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
