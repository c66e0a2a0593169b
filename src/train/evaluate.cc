#include "train/evaluate.h"

#include <absl/strings/ascii.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/check.h"
#include "data/packed_batch.h"
#include "train/library_errors.h"
#include "train/response_loss.h"
#include "train/rouge.h"

namespace fedalt {
namespace {

Status ExampleLosses(const Transformer& model, const std::vector<TokenizedExample>& examples, int64_t batch_size,
                     const ForwardContext& context, Measures& losses) {
  if (batch_size < 1) return ConfigError(absl::StrFormat("eval: a batch size of %d; it must be at least 1", batch_size));
  ForwardContext without_dropout = context;
  without_dropout.rows = nullptr;
  return CatchLibraryErrors("evaluation", [&] {
    for (size_t begin = 0; begin < examples.size(); begin += static_cast<size_t>(batch_size)) {
      const size_t end = std::min(examples.size(), begin + static_cast<size_t>(batch_size));
      std::vector<const TokenizedExample*> members;
      for (size_t i = begin; i < end; ++i) members.push_back(&examples[i]);
      const PackedBatch batch = PackExamples(members);
      const ResponseLoss loss = ForwardLoss(model, batch, without_dropout);
      size_t member = 0;
      for (size_t row = 0; row < loss.per_row.size(); ++row) {
        while (batch.response_rows[row] >= batch.offsets[member + 1]) ++member;
        ExampleMeasure& of = losses[begin + member];
        of.loss_sum += loss.per_row[row];
        ++of.response_tokens;
      }
    }
    return absl::OkStatus();
  });
}

StatusOr<std::vector<std::string>> Answers(const Transformer& model, const Tokenizer& tokenizer, const EvalSet& set,
                                           const EvalOptions& options, const ForwardContext& context) {
  GenerateOptions generate = options.generate;
  if (generate.eos_ids.empty()) {
    generate.eos_ids = model.config().eos_token_ids;
    if (generate.eos_ids.empty() && tokenizer.eos_id()) generate.eos_ids.push_back(*tokenizer.eos_id());
  }
  bool stopped = false;
  if (options.generate.progress) {
    generate.progress = [&](int64_t done) {
      const bool go_on = options.generate.progress(done);
      stopped = stopped || !go_on;
      return go_on;
    };
  }
  std::vector<std::string> answers;
  RETURN_IF_ERROR(CatchLibraryErrors("generation", [&]() -> Status {
    ASSIGN_OR_RETURN(const auto ids, Generate(model, set.prompts, generate, context));
    if (stopped) return InterruptedError("evaluation was stopped while answers were generated");
    FEDALT_CHECK(ids.size() == set.prompts.size(), "one answer per prompt");
    for (size_t i = 0; i < ids.size(); ++i)
      answers.push_back(AnswerText(tokenizer, {set.prompts[i], i < set.borders.size() ? set.borders[i] : ""}, ids[i]));
    return absl::OkStatus();
  }));
  return answers;
}

/// Sums of everything; Mean() turns them into Scores.
struct Sums {
  Scores sums;
  double loss = 0.0;
  int64_t response_tokens = 0;

  void Add(const ExampleMeasure& example) {
    ++sums.examples;
    loss += example.loss_sum;
    response_tokens += example.response_tokens;
  }
  /// Several right answers: each score is that of the reference which gives most, as Super-NaturalInstructions is evaluated.
  void Add(const Example& example, const std::string& prediction) {
    RougeScores best;
    bool exact = false, beyond_latin = false;
    const auto compare = [&](const std::string& reference) {
      const RougeScores rouge = Rouge(reference, prediction);
      best = {std::max(best.rouge1, rouge.rouge1), std::max(best.rouge2, rouge.rouge2), std::max(best.rougeL, rouge.rougeL)};
      beyond_latin = beyond_latin || HasWordsBeyondLatin(reference);
      exact = exact || absl::StripAsciiWhitespace(reference) == absl::StripAsciiWhitespace(prediction);
    };
    compare(example.output);
    for (const std::string& reference : example.more_outputs) compare(reference);
    sums.rouge1 += best.rouge1;
    sums.rouge2 += best.rouge2;
    sums.rougeL += best.rougeL;
    if (exact) sums.exact_match += 1.0;
    if (beyond_latin) ++sums.beyond_latin;
  }
  Scores Mean() const {
    Scores mean = sums;
    const double n = static_cast<double>(std::max<int64_t>(1, sums.examples));
    mean.loss = loss / static_cast<double>(std::max<int64_t>(1, response_tokens));
    for (double* score : {&mean.rouge1, &mean.rouge2, &mean.rougeL, &mean.exact_match}) *score /= n;
    return mean;
  }
};

}  // namespace

StatusOr<EvalSet> MakeEvalSet(std::vector<Example> examples, const Tokenizer& tokenizer, const PromptTemplate& prompt_template,
                              const EvalOptions& options, TokenizeReport* report) {
  if (examples.empty()) return DataError("evaluation: there are no examples; give the site at least one");
  const int64_t prompt_tokens = options.max_length - options.generate.max_new_tokens;
  if (options.generate_answers && prompt_tokens < 1)
    return ConfigError(
        absl::StrFormat("eval.max_new_tokens is %d, which leaves no room for a prompt in train.max_length %d; lower the "
                        "one or raise the other",
                        options.generate.max_new_tokens, options.max_length));
  EvalSet set;
  TokenizeOptions tokenize;
  tokenize.max_length = options.max_length;
  tokenize.too_long = options.too_long;
  ASSIGN_OR_RETURN(set.tokenized, TokenizeForTraining(examples, tokenizer, prompt_template, tokenize, report));
  if (set.tokenized.empty())
    return DataError(
        absl::StrFormat("no answer of its %d examples fits into train.max_length %d, and train.too_long is skip; raise "
                        "the one or change the other",
                        examples.size(), options.max_length));
  if (set.tokenized.size() < examples.size()) {  // those that were skipped have no tokens
    std::set<int64_t> kept;
    for (const TokenizedExample& example : set.tokenized) kept.insert(example.id);
    std::erase_if(examples, [&kept](const Example& example) { return kept.count(example.id) == 0; });
  }
  if (options.generate_answers) {
    ASSIGN_OR_RETURN(std::vector<PromptTokens> prompts,
                     TokenizePrompts(examples, tokenizer, prompt_template, static_cast<int32_t>(prompt_tokens), nullptr));
    for (PromptTokens& prompt : prompts) {
      set.prompts.push_back(std::move(prompt.ids));
      set.borders.push_back(std::move(prompt.border));
    }
  }
  set.examples = std::move(examples);
  return set;
}

StatusOr<Measures> Measure(const Transformer& model, const Tokenizer* tokenizer, const EvalSet& set, const EvalOptions& options,
                           const ForwardContext& context) {
  FEDALT_CHECK(set.tokenized.size() == set.examples.size(), "made by MakeEvalSet");
  ASSIGN_OR_RETURN(Measures measures, MeasureLosses(model, set.tokenized, options.loss_batch_size, context));
  if (!options.generate_answers) return measures;
  FEDALT_CHECK(set.prompts.size() == set.examples.size() && tokenizer != nullptr, "the set was made with generate_answers");
  ASSIGN_OR_RETURN(std::vector<std::string> answers, Answers(model, *tokenizer, set, options, context));
  for (size_t i = 0; i < answers.size(); ++i) measures[i].prediction = std::move(answers[i]);
  return measures;
}

StatusOr<Measures> MeasureLosses(const Transformer& model, const std::vector<TokenizedExample>& examples, int64_t batch_size,
                                 const ForwardContext& context) {
  if (examples.empty()) return DataError("evaluation: there are no examples; give the site at least one");
  Measures measures(examples.size());
  RETURN_IF_ERROR(ExampleLosses(model, examples, batch_size, context, measures));
  return measures;
}

EvalResult ScoreMeasures(const EvalSet& set, Measures measures, bool generated) {
  FEDALT_CHECK(measures.size() == set.examples.size(), "one measure per example");
  EvalResult result;
  Sums all;
  std::map<std::string, Sums> by_tag;
  for (size_t i = 0; i < set.examples.size(); ++i) {
    const Example& example = set.examples[i];
    std::vector<Sums*> targets = {&all};
    if (!example.tag.empty()) targets.push_back(&by_tag[example.tag]);
    for (Sums* target : targets) {
      target->Add(measures[i]);
      if (generated) target->Add(example, measures[i].prediction);
    }
    if (generated) result.predictions.push_back(std::move(measures[i].prediction));
  }
  result.all = all.Mean();
  for (const auto& [tag, sums] : by_tag) result.by_tag[tag] = sums.Mean();
  return result;
}

double MeanLossOf(const Measures& measures) {
  Sums all;
  for (const ExampleMeasure& measure : measures) all.Add(measure);
  return all.Mean().loss;
}

EvalSet SubsetOf(const EvalSet& set, const std::vector<size_t>& members) {
  EvalSet subset;
  for (const size_t i : members) {
    subset.examples.push_back(set.examples[i]);
    subset.tokenized.push_back(set.tokenized[i]);
    if (!set.prompts.empty()) subset.prompts.push_back(set.prompts[i]);
    if (!set.borders.empty()) subset.borders.push_back(set.borders[i]);
  }
  return subset;
}

StatusOr<EvalResult> Evaluate(const Transformer& model, const Tokenizer& tokenizer, const EvalSet& set, const EvalOptions& options,
                              const ForwardContext& context) {
  ASSIGN_OR_RETURN(Measures measures, Measure(model, &tokenizer, set, options, context));
  return ScoreMeasures(set, std::move(measures), options.generate_answers);
}

StatusOr<double> MeanLoss(const Transformer& model, const std::vector<TokenizedExample>& examples, int64_t batch_size,
                          const ForwardContext& context) {
  ASSIGN_OR_RETURN(const Measures losses, MeasureLosses(model, examples, batch_size, context));
  return MeanLossOf(losses);
}

}  // namespace fedalt
