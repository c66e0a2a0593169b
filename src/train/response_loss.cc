#include "train/response_loss.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

#include "base/check.h"

namespace fedalt {
namespace {

constexpr int64_t kLogitsBytes = int64_t{32} << 20;  ///< logits that exist at once

PackedTokens TokensOf(const PackedBatch& batch) {
  // The batch outlives the forward, and nothing writes token ids.
  auto* ids = const_cast<int64_t*>(batch.tokens.data());
  return {at::from_blob(ids, {static_cast<int64_t>(batch.tokens.size())}, at::kLong), batch.offsets};
}

at::Tensor IndexTensor(const std::vector<int64_t>& values) {
  return at::from_blob(const_cast<int64_t*>(values.data()), {static_cast<int64_t>(values.size())}, at::kLong);
}

/// Calls visit(first, hidden_nd, targets_n) on consecutive pieces of the response rows.
template <typename Visit>
void ForPieces(const Transformer& model, const PackedBatch& batch, const at::Tensor& hidden_nd, const Visit& visit) {
  const int64_t rows = static_cast<int64_t>(batch.targets.size()), vocabulary = std::max<int64_t>(1, model.config().vocab_size);
  const int64_t piece = std::clamp<int64_t>(kLogitsBytes / (4 * vocabulary), 16, 2048);
  const at::Tensor targets_n = IndexTensor(batch.targets);
  for (int64_t first = 0; first < rows; first += piece) {
    const int64_t count = std::min(piece, rows - first);
    visit(first, hidden_nd.narrow(0, first, count), targets_n.narrow(0, first, count));
  }
}

/// log p(target) per row, from log-probabilities.
at::Tensor TargetLogProbabilities(const at::Tensor& log_p_nv, const at::Tensor& targets_n) {
  return log_p_nv.gather(1, targets_n.unsqueeze(1)).squeeze(1);
}

void Append(const at::Tensor& log_p_n, ResponseLoss& loss) {
  const at::Tensor values = log_p_n.to(at::kDouble);
  for (int64_t i = 0; i < values.numel(); ++i) {
    const double nll = -values.data_ptr<double>()[i];
    loss.per_row.push_back(nll);
    loss.sum += nll;
  }
}

}  // namespace

TokenRows RowsOf(const PackedBatch& batch) {
  TokenRows rows;
  rows.positions = batch.positions;
  rows.example_ids.reserve(batch.tokens.size());
  for (size_t i = 0; i < batch.example_ids.size(); ++i)
    rows.example_ids.insert(rows.example_ids.end(), static_cast<size_t>(batch.offsets[i + 1] - batch.offsets[i]),
                            batch.example_ids[i]);
  return rows;
}

ResponseLoss ForwardLoss(const Transformer& model, const PackedBatch& batch, const ForwardContext& context) {
  const at::NoGradGuard no_grad;
  ResponseLoss loss;
  const at::Tensor hidden_nd = model.Hidden(TokensOf(batch), context).index_select(0, IndexTensor(batch.response_rows));
  ForPieces(model, batch, hidden_nd, [&](int64_t, const at::Tensor& piece_nd, const at::Tensor& targets_n) {
    Append(TargetLogProbabilities(at::log_softmax(model.Logits(piece_nd), 1), targets_n), loss);
  });
  return loss;
}

ResponseLoss ForwardBackward(const Transformer& model, const PackedBatch& batch, const ForwardContext& context, double divisor,
                             const std::vector<at::Tensor>& parameters, std::vector<at::Tensor>& gradients) {
  FEDALT_CHECK(at::GradMode::is_enabled(), "training needs gradients");
  ResponseLoss loss;
  const at::Tensor hidden_nd = model.Hidden(TokensOf(batch), context).index_select(0, IndexTensor(batch.response_rows));
  FEDALT_CHECK(hidden_nd.requires_grad(), "no trained parameter takes part in the forward");
  at::Tensor d_hidden_nd = at::empty_like(hidden_nd);
  ForPieces(model, batch, hidden_nd.detach(), [&](int64_t first, const at::Tensor& piece_nd, const at::Tensor& targets_n) {
    const at::Tensor leaf_nd = piece_nd.detach().requires_grad_();
    const at::Tensor logits_nv = model.Logits(leaf_nd);
    // d(-log p(target) / divisor) / d logits = (softmax - one hot) / divisor, written over the log-probabilities.
    at::Tensor d_logits_nv = at::log_softmax(logits_nv.detach(), 1);
    Append(TargetLogProbabilities(d_logits_nv, targets_n), loss);
    d_logits_nv.exp_();
    const at::Tensor index_n1 = targets_n.unsqueeze(1);
    d_logits_nv.scatter_add_(1, index_n1, at::full(index_n1.sizes(), -1.0, d_logits_nv.options()));
    d_logits_nv.div_(divisor);
    d_hidden_nd.narrow(0, first, leaf_nd.size(0)).copy_(torch::autograd::grad({logits_nv}, {leaf_nd}, {d_logits_nv})[0]);
  });
  const auto fresh = torch::autograd::grad({hidden_nd}, parameters, {d_hidden_nd});
  gradients.resize(parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (gradients[i].defined()) {
      gradients[i].add_(fresh[i]);
    } else {
      gradients[i] = fresh[i];
    }
  }
  return loss;
}

}  // namespace fedalt
