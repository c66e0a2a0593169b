// The most likely next tokens of each row of logits: what greedy decoding and, with their log probabilities, beam search ask for at
// every step.
//
// On the CPU one pass for the sum of the softmax and one that keeps the best few, instead of a table of all log probabilities and a
// general selection; elsewhere, tensor expressions. Thread-safe; parallel inside; the same bits for any number of threads.
#pragma once

#include <ATen/ATen.h>

namespace fedalt {

/// Per row the `count` best, best first; of equal ones the smaller id. On the CPU, contiguous.
struct BestContinuations {
  at::Tensor log_p_nk;  ///< kFloat, normalised over the whole vocabulary; NaN in a row that holds a NaN
  at::Tensor ids_nk;    ///< kLong
};

/// logits (N, vocabulary), kFloat or kBFloat16; 1 <= count <= vocabulary.
BestContinuations FindBestContinuations(const at::Tensor& logits_nv, int64_t count);
/// Per row the best alone (N), kLong, on the CPU; of equal ones the smallest id.
at::Tensor MostLikely(const at::Tensor& logits_nv);
/// The same for logits_nv = hidden_nd head_vd^T: where the greatest ones are equal because bfloat16 rounded them, the float32
/// products decide. On the CPU; elsewhere, and for float32, as above.
at::Tensor MostLikely(const at::Tensor& logits_nv, const at::Tensor& hidden_nd, const at::Tensor& head_vd);

}  // namespace fedalt
