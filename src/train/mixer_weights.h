// How much of each branch a site's mixer uses: the mean of p_I per adapted layer over a set of tokens.
#pragma once

#include <vector>

#include "adapter/site_adapters.h"
#include "base/status.h"
#include "data/dataset.h"
#include "model/transformer.h"

namespace fedalt {

/// Mean p_I per adapted module (in the order of adapters.modules()) over all tokens that the model reads in `examples`.
/// The forward runs as the adapters' mode says. Errors: those of the model.
StatusOr<std::vector<double>> MeanIndividualWeights(const Transformer& model, const SiteAdapters& adapters,
                                                    const std::vector<TokenizedExample>& examples, int64_t batch_size);

}  // namespace fedalt
