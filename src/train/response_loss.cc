#include "train/response_loss.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

#include "base/check.h"
#include "base/interrupt.h"
#include "model/many_rows_product.h"
#include "train/cross_entropy.h"

namespace fedalt {
namespace {

constexpr int64_t kLogits = int64_t{1} << 24;  ///< that exist at once: 512 rows of 32,000, about the fewest at full speed

PackedTokens TokensOf(const PackedBatch& batch) {
  // The batch outlives the forward, and nothing writes token ids.
  auto* ids = const_cast<int64_t*>(batch.tokens.data());
  return {at::from_blob(ids, {static_cast<int64_t>(batch.tokens.size())}, at::kLong), batch.offsets, &batch.response_rows};
}

at::Tensor IndexTensor(const std::vector<int64_t>& values, at::Device device) {
  return at::from_blob(const_cast<int64_t*>(values.data()), {static_cast<int64_t>(values.size())}, at::kLong).to(device);
}

/// Calls visit(first, hidden_nd, targets_n) on consecutive pieces of the response rows.
template <typename Visit>
void ForPieces(const Transformer& model, const PackedBatch& batch, const at::Tensor& hidden_nd, const Visit& visit) {
  const auto rows = static_cast<int64_t>(batch.targets.size());
  const int64_t piece = LogitRowsAtOnce(model.config().vocab_size);
  const at::Tensor targets_n = IndexTensor(batch.targets, hidden_nd.device());
  for (int64_t first = 0; first < rows; first += piece) {
    ThrowIfInterrupted();
    const int64_t count = std::min(piece, rows - first);
    visit(first, hidden_nd.narrow(0, first, count), targets_n.narrow(0, first, count));
  }
}

/// The loss of the rows in `logits_nv`; where `gradient_factor` is not 0, they become its gradient times that.
void AddLoss(at::Tensor& logits_nv, const at::Tensor& targets_n, double gradient_factor, ResponseLoss& loss) {
  const size_t before = loss.per_row.size();
  loss.per_row.resize(before + static_cast<size_t>(targets_n.size(0)));
  CrossEntropy(logits_nv, targets_n, gradient_factor, loss.per_row.data() + before);
  for (size_t i = before; i < loss.per_row.size(); ++i) loss.sum += loss.per_row[i];
}

}  // namespace

int64_t LogitRowsAtOnce(int64_t vocabulary) {
  return std::clamp<int64_t>(kLogits / std::max<int64_t>(1, vocabulary), 16, 2048);
}

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
  const at::Tensor hidden_nd = model.Hidden(TokensOf(batch), context);
  ForPieces(model, batch, hidden_nd, [&](int64_t, const at::Tensor& piece_nd, const at::Tensor& targets_n) {
    at::Tensor logits_nv = ManyRowsLinear(piece_nd, model.head(), {});
    AddLoss(logits_nv, targets_n, 0.0, loss);
  });
  return loss;
}

ResponseLoss ForwardBackward(const Transformer& model, const PackedBatch& batch, const ForwardContext& context, double divisor,
                             const std::vector<at::Tensor>& parameters, std::vector<at::Tensor>& gradients) {
  FEDALT_CHECK(at::GradMode::is_enabled(), "training needs gradients");
  ResponseLoss loss;
  const at::Tensor hidden_nd = model.Hidden(TokensOf(batch), context);
  FEDALT_CHECK(hidden_nd.requires_grad(), "no trained parameter takes part in the forward");
  at::Tensor d_hidden_nd = at::empty_like(hidden_nd);
  ForPieces(model, batch, hidden_nd.detach(), [&](int64_t first, const at::Tensor& piece_nd, const at::Tensor& targets_n) {
    const at::NoGradGuard no_grad;
    at::Tensor logits_nv = ManyRowsLinear(piece_nd, model.head(), {});
    AddLoss(logits_nv, targets_n, 1.0 / divisor, loss);
    at::Tensor d_piece_nd = d_hidden_nd.narrow(0, first, piece_nd.size(0));
    ManyOutputsLinearBackward(logits_nv, model.head(), d_piece_nd);
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
