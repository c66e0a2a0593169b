// base: the model as it came, without any training. The lower end of every comparison.
#include "fed/baselines.h"

namespace fedalt {
namespace {

class Base : public Method {
 public:
  using Method::Method;
  TransportNeed needs() const override { return TransportNeed::kNothing; }
  bool trains() const override { return false; }
  BranchMode branches() const override { return BranchMode::kBase; }
};

}  // namespace

std::unique_ptr<Method> MakeBase(const MethodOptions& options) {
  return std::make_unique<Base>(options);
}

}  // namespace fedalt
