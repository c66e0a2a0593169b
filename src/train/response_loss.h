// The loss: negative log-likelihood of the response tokens. The head runs on response rows only, a piece of them at a time, so that
// the logits of a batch never exist all at once.
//
// Stateless. Library exceptions pass through; callers sit inside CatchLibraryErrors.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "adapter/site_adapters.h"
#include "data/packed_batch.h"
#include "model/transformer.h"

namespace fedalt {

struct ResponseLoss {
  double sum = 0.0;             ///< over the batch's response tokens
  std::vector<double> per_row;  ///< in the order of PackedBatch::response_rows
};

/// Forward only.
ResponseLoss ForwardLoss(const Transformer& model, const PackedBatch& batch, const ForwardContext& context);

/// Forward and backward of sum / divisor: `gradients` (one per parameter, same order) are added to, or made if undefined.
ResponseLoss ForwardBackward(const Transformer& model, const PackedBatch& batch, const ForwardContext& context, double divisor,
                             const std::vector<at::Tensor>& parameters, std::vector<at::Tensor>& gradients);

/// Rows of a batch whose logits exist at once.
int64_t LogitRowsAtOnce(int64_t vocabulary);

/// Where the rows of a batch come from.
TokenRows RowsOf(const PackedBatch& batch);

}  // namespace fedalt
