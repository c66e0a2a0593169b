// What one personalised model is worth on one set of examples: loss, generated answers, ROUGE, exact match.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/dataset.h"
#include "model/generate.h"
#include "model/transformer.h"
#include "text/prompt_template.h"
#include "text/tokenizer.h"
#include "train/eval_options.h"

namespace fedalt {

/// Examples ready for evaluation; made once per site and reused every round.
struct EvalSet {
  std::vector<Example> examples;
  std::vector<TokenizedExample> tokenized;    ///< prompt + response, for the loss
  std::vector<std::vector<int32_t>> prompts;  ///< for generation
  std::vector<std::string> borders;           ///< of the prompts, for the text of the answers (text/prompt_tokens.h)
};
/// Examples that options.too_long skips are in none of its lists. Errors: kConfig (no room for a prompt), kData (nothing to
/// evaluate), those of TokenizeForTraining.
StatusOr<EvalSet> MakeEvalSet(std::vector<Example> examples, const Tokenizer& tokenizer, const PromptTemplate& prompt_template,
                              const EvalOptions& options, TokenizeReport* report);

struct Scores {
  int64_t examples = 0;
  double loss = 0.0;                                ///< mean over response tokens of the set
  double rouge1 = 0.0, rouge2 = 0.0, rougeL = 0.0;  ///< F-measure with stemming, mean over examples, 0..1; best reference
  int64_t beyond_latin = 0;  ///< examples whose right answers have words that rouge_score would drop (rouge.h)
  double exact_match = 0.0;  ///< share of answers equal to a reference after trimming white space
};

struct EvalResult {
  Scores all;
  std::map<std::string, Scores> by_tag;  ///< only if examples carry tags (loss is per tag too)
  std::vector<std::string> predictions;  ///< in the order of the examples; empty if nothing was generated
};

/// What was measured of one example, before anything is averaged.
struct ExampleMeasure {
  double loss_sum = 0.0;  ///< over its response tokens
  int64_t response_tokens = 0;
  std::string prediction;  ///< empty if nothing was generated
};
using Measures = std::vector<ExampleMeasure>;

/// Every example of `set`, in order. Errors as for Evaluate. `tokenizer`: may be null where no answers are generated.
StatusOr<Measures> Measure(const Transformer& model, const Tokenizer* tokenizer, const EvalSet& set, const EvalOptions& options,
                           const ForwardContext& context);
/// The losses alone.
StatusOr<Measures> MeasureLosses(const Transformer& model, const std::vector<TokenizedExample>& examples, int64_t batch_size,
                                 const ForwardContext& context);
/// Scores and predictions of what was measured of all of `set`.
EvalResult ScoreMeasures(const EvalSet& set, Measures measures, bool generated);
/// Mean loss per response token.
double MeanLossOf(const Measures& measures);
/// The examples at these places.
EvalSet SubsetOf(const EvalSet& set, const std::vector<size_t>& members);

/// Measure and ScoreMeasures. Errors: kInterrupted (the progress callback of options.generate asked to stop), model errors.
StatusOr<EvalResult> Evaluate(const Transformer& model, const Tokenizer& tokenizer, const EvalSet& set, const EvalOptions& options,
                              const ForwardContext& context);

/// Mean loss per response token over examples (no generation).
StatusOr<double> MeanLoss(const Transformer& model, const std::vector<TokenizedExample>& examples, int64_t batch_size,
                          const ForwardContext& context);

}  // namespace fedalt
