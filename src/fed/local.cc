// local: every site trains one LoRA on its own data alone; nothing is sent.
#include "fed/baselines.h"

namespace fedalt {
namespace {

class Local : public Method {
 public:
  using Method::Method;
  TransportNeed needs() const override { return TransportNeed::kNothing; }
};

}  // namespace

std::unique_ptr<Method> MakeLocal(const MethodOptions& options) {
  return std::make_unique<Local>(options);
}

}  // namespace fedalt
