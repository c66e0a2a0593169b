#include "train/library_errors.h"

#include <absl/strings/match.h>
#include <c10/util/Exception.h>

#include <exception>
#include <new>
#include <string>
#include <system_error>

#include "base/interrupt.h"

namespace fedalt {
namespace {

Status OutOfMemory(std::string_view what) {
  return MemoryError(
      absl::StrCat(std::string(what),
                   ": the machine has no memory left; lower train.batch_size (raising train.accumulate keeps the result) "
                   "or train.max_length, or use dtype bfloat16"));
}

Status Unexplained(std::string_view what, std::string_view message) {
  return MakeError(ErrorKind::kInternal, absl::StrCat(std::string(what), ": the tensor library failed (",
                                                      std::string(message.substr(0, message.find('\n'))), ")"));
}

}  // namespace

Status CatchLibraryErrors(std::string_view what, const std::function<Status()>& body) {
  try {
    return body();
  } catch (const Interrupted&) {
    return InterruptedError(absl::StrCat(std::string(what), " was stopped"));
  } catch (const std::bad_alloc&) {
    return OutOfMemory(what);
  } catch (const std::system_error& error) {
    if (error.code() != std::errc::resource_unavailable_try_again) return Unexplained(what, error.what());
    return MemoryError(absl::StrCat(std::string(what),
                                    ": no further thread could be started; raise the limits of this process (ulimit -u, ulimit -v, "
                                    "the container's) or lower threads"));
  } catch (const c10::Error& error) {
    const std::string message = error.what_without_backtrace();
    // The allocators of libtorch say so only in words (c10/core/impl/alloc_cpu.cpp, CUDACachingAllocator.cpp).
    for (const char* words : {"can't allocate memory", "not enough memory", "out of memory"})
      if (absl::StrContains(message, words)) return OutOfMemory(what);
    return Unexplained(what, message);
  } catch (const std::exception& error) {
    return Unexplained(what, error.what());
  }
}

}  // namespace fedalt
