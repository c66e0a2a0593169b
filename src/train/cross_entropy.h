// The loss of next-token prediction on rows of logits, and its gradient in their place.
//
// One pass per row in cache: nothing of the logits' size is allocated. Float32 arithmetic (float64 for float64 logits). Does not
// depend on the number of threads. Thread-safe.
#pragma once

#include <ATen/ATen.h>

namespace fedalt {

/// nll[i] = log(sum_v exp(logits[i, v])) - logits[i, targets[i]]. Where `gradient_factor` is not 0, logits are overwritten by the
/// gradient: gradient_factor * (softmax(logits) - one_hot(targets)), in their own dtype.
/// logits (N, vocab) contiguous kFloat, kDouble or kBFloat16; targets (N) in [0, vocab); nll: N numbers.
void CrossEntropy(at::Tensor& logits_nv, const at::Tensor& targets_n, double gradient_factor, double* nll);

}  // namespace fedalt
