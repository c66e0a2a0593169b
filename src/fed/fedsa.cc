// fedsa: FedSA-LoRA (Guo et al., "Selective Aggregation for Low-Rank Adaptation in Federated Learning", ICLR 2025, arXiv
// 2410.01463). Both factors are trained; A is averaged, B stays at its site:   A <- sum p_k A_k.
//
// A site uses the averaged A with its own B, as published.
#include "fed/averaging.h"
#include "fed/baselines.h"

namespace fedalt {
namespace {

class Fedsa : public AveragingMethod {
 public:
  using AveragingMethod::AveragingMethod;

  Status Check(const FederationOptions& options) const override {
    if (options.adapter.freeze_a)
      return ConfigError("fedsa averages A, and with freeze_a there would be nothing to average; leave freeze_a at false");
    return Method::Check(options);
  }

 protected:
  bool TravelsB(int64_t) const override { return false; }
};

}  // namespace

std::unique_ptr<Method> MakeFedsa(const MethodOptions& options) {
  return std::make_unique<Fedsa>(options);
}

}  // namespace fedalt
