// rolora: RoLoRA (Chen et al., "Robust Federated Finetuning of LLMs via Alternating Optimization of LoRA", arXiv 2502.01755). The
// factors take turns: in odd rounds B is trained and averaged with A fixed, in even rounds A with B fixed, so the mean of the
// products is exact in every round.
//
// The first round trains B, because B starts at zero and A would get no gradient.
#include "fed/averaging.h"
#include "fed/baselines.h"

namespace fedalt {
namespace {

class Rolora : public AveragingMethod {
 public:
  using AveragingMethod::AveragingMethod;

  Status Check(const FederationOptions& options) const override {
    if (options.keep_optimizer)
      return ConfigError(
          "rolora trains A and B in turn, so there is no optimizer state to keep; leave train.optimizer_state at restart");
    if (options.adapter.freeze_a) return ConfigError("rolora trains A in every second round; leave freeze_a at false");
    return Method::Check(options);
  }

  void PreparePass(int64_t round, int64_t pass, Site& site, TrainOptions& train) const override {
    Method::PreparePass(round, pass, site, train);
    train.train_a = TravelsA(round);
    train.train_b = TravelsB(round);
  }

 protected:
  bool TravelsA(int64_t round) const override { return round % 2 == 0; }
  bool TravelsB(int64_t round) const override { return round % 2 == 1; }
};

}  // namespace

std::unique_ptr<Method> MakeRolora(const MethodOptions& options) {
  return std::make_unique<Rolora>(options);
}

}  // namespace fedalt
