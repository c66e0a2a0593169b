#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace fedalt::internal {

void CheckFailed(const char* file, int line, const char* condition, std::string_view message) {
  std::fprintf(stderr, "fedalt: internal error at %s:%d: %s does not hold: %.*s\n", file, line, condition,
               static_cast<int>(message.size()), message.data());
  std::abort();
}

}  // namespace fedalt::internal
