// pooled: one LoRA trained on the data of all sites together, as if privacy did not matter. The upper end of what one common model
// can reach; it takes as many optimizer steps as all sites of a federation together.
#include "fed/baselines.h"

namespace fedalt {
namespace {

class Pooled : public Method {
 public:
  using Method::Method;
  TransportNeed needs() const override { return TransportNeed::kNothing; }
  bool pools_data() const override { return true; }
};

}  // namespace

std::unique_ptr<Method> MakePooled(const MethodOptions& options) {
  return std::make_unique<Pooled>(options);
}

}  // namespace fedalt
