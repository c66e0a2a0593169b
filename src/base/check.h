// FEDALT_CHECK: our own bugs. Aborts in release builds too, with the place and the reason.
// (glog, which Debian's libtorch brings along, owns the plain name CHECK.)
#pragma once

#include <string_view>

namespace fedalt::internal {
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition, std::string_view message);
}

#define FEDALT_CHECK(condition, message)                                          \
  do {                                                                            \
    if (!(condition)) [[unlikely]]                                                \
      ::fedalt::internal::CheckFailed(__FILE__, __LINE__, #condition, (message)); \
  } while (false)
