// local: every site trains one LoRA on its own data alone; nothing is sent. At twice the rank (and lora_alpha) it is the control
// that trains as many parameters as two adapters have.
#include "fed/baselines.h"

namespace fedalt {
namespace {

class Local : public Method {
 public:
  using Method::Method;
  TransportNeed needs() const override { return TransportNeed::kNothing; }
  bool allows_ranks() const override { return true; }
};

}  // namespace

std::unique_ptr<Method> MakeLocal(const MethodOptions& options) {
  return std::make_unique<Local>(options);
}

}  // namespace fedalt
