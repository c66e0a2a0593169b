// ffa: FFA-LoRA (Sun et al., "Improving LoRA in Privacy-preserving Federated Learning", ICLR 2024, arXiv 2403.12313). Every site
// has the same A, which nobody trains; only B is trained and averaged:   B <- sum p_k B_k.   The mean of the products is then
// exact.
//
// As published A is drawn once and shared, whatever `init` says. The scale stays lora_alpha / r; the paper searches it.
#include "fed/averaging.h"
#include "fed/baselines.h"

namespace fedalt {
namespace {

class Ffa : public AveragingMethod {
 public:
  using AveragingMethod::AveragingMethod;
  void Configure(AdapterConfig& adapter) const override {
    Method::Configure(adapter);
    adapter.freeze_a = true;
  }

 protected:
  bool TravelsA(int64_t) const override { return false; }
};

}  // namespace

std::unique_ptr<Method> MakeFfa(const MethodOptions& options) {
  return std::make_unique<Ffa>(options);
}

}  // namespace fedalt
