#include "base/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>

namespace fedalt {
namespace {

std::atomic<bool> requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may only touch lock-free atomics");

// Only calls that are safe in a signal handler.
extern "C" void OnInterrupt(int signal) {
  const int saved_errno = errno;
  requested.store(true, std::memory_order_relaxed);
  // The default action from now on: whoever asks twice does not want to wait.
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  constexpr char kInterrupt[] = "\nstopping at the next safe point; Ctrl-C once more stops at once\n";
  constexpr char kTerminate[] = "\nstopping at the next safe point\n";
  [[maybe_unused]] const ssize_t written = signal == SIGINT ? ::write(STDERR_FILENO, kInterrupt, sizeof(kInterrupt) - 1)
                                                            : ::write(STDERR_FILENO, kTerminate, sizeof(kTerminate) - 1);
  errno = saved_errno;
}

}  // namespace

void InstallInterruptHandler() {
  requested.store(false, std::memory_order_relaxed);
  struct sigaction action {};
  action.sa_handler = OnInterrupt;
  action.sa_flags = SA_RESTART;  // reads and writes of libraries go on undisturbed
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

bool InterruptRequested() {
  return requested.load(std::memory_order_relaxed);
}

void SetInterruptRequested(bool wanted) {
  requested.store(wanted, std::memory_order_relaxed);
}

Status CheckInterrupt(std::string_view what) {
  if (!InterruptRequested()) return absl::OkStatus();
  return InterruptedError(absl::StrCat("stopped while ", std::string(what)));
}

}  // namespace fedalt
