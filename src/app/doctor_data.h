// The part of `fedalt doctor` that looks at every site's data.
#pragma once

#include "app/findings.h"
#include "run/run_config.h"
#include "text/tokenizer.h"

namespace fedalt {

/// Reads every data file: counts, lengths, what would be cut, answers longer than eval.max_new_tokens, test examples that are in
/// the training data, empty answers; and shows the first prompt of the first site. `tokenizer` null: lengths are left out.
void ExamineData(const RunConfig& config, const Tokenizer* tokenizer, Findings& findings);

}  // namespace fedalt
