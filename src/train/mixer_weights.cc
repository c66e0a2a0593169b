#include "train/mixer_weights.h"

#include <memory>

#include "train/evaluate.h"

namespace fedalt {
namespace {

/// Looks at what passes through one adapted layer, and passes it on unchanged.
class MixerProbe : public LinearExtension {
 public:
  explicit MixerProbe(const FedaltLinear& layer) : layer_(layer) {}

  std::vector<at::Tensor> Parameters() const override { return layer_.Parameters(); }
  std::unique_ptr<Saved> Add(const at::Tensor& x_ti, at::Tensor& y_to, const ForwardContext& context,
                             bool differentiable) const override {
    sum_ += layer_.IndividualWeight(x_ti).sum().item<double>();
    tokens_ += x_ti.size(0);
    return layer_.Add(x_ti, y_to, context, differentiable);
  }

  double mean() const { return tokens_ > 0 ? sum_ / static_cast<double>(tokens_) : 0.0; }

 private:
  const FedaltLinear& layer_;
  mutable double sum_ = 0.0;  // one probe serves one call of MeanIndividualWeights, on one thread
  mutable int64_t tokens_ = 0;
};

}  // namespace

StatusOr<std::vector<double>> MeanIndividualWeights(const Transformer& model, const SiteAdapters& adapters,
                                                    const std::vector<TokenizedExample>& examples, int64_t batch_size) {
  std::vector<std::unique_ptr<MixerProbe>> probes;
  std::vector<const LinearExtension*> extensions(model.linears().size(), nullptr);
  for (size_t i = 0; i < adapters.modules().size(); ++i) {
    probes.push_back(std::make_unique<MixerProbe>(adapters.layer(i)));
    extensions[static_cast<size_t>(adapters.modules()[i].linear_index)] = probes.back().get();
  }
  ForwardContext context;
  context.extensions = &extensions;
  RETURN_IF_ERROR(MeanLoss(model, examples, batch_size, context).status());
  std::vector<double> means;
  means.reserve(probes.size());
  for (const auto& probe : probes) means.push_back(probe->mean());
  return means;
}

}  // namespace fedalt
