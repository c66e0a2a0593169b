// The program: sets up the process, then app/program.cc does the rest.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <system_error>

#include "app/command.h"
#include "base/interrupt.h"
#include "model/tensor_memory.h"

namespace {

// What nobody caught, in this thread or another: one line, no trace, and nothing allocated.
[[noreturn]] void ReportUncaught() {
  const char* what = "internal error: an unknown exception";
  fedalt::ErrorKind kind = fedalt::ErrorKind::kInternal;
  if (const std::exception_ptr current = std::current_exception()) {
    try {
      std::rethrow_exception(current);
    } catch (const std::bad_alloc&) {
      what = "there is no memory left for this process; look at its limits (ulimit -v, the container's) or lower train.batch_size";
      kind = fedalt::ErrorKind::kMemory;
    } catch (const std::system_error& error) {
      what = "internal error: a call of the system failed";
      if (error.code() == std::errc::resource_unavailable_try_again) {
        what = "no further thread could be started; raise the limits of this process (ulimit -u, ulimit -v, the container's)";
        kind = fedalt::ErrorKind::kMemory;
      }
    } catch (const std::exception& error) {
      static char copy[400];
      std::snprintf(copy, sizeof copy, "internal error: %s", error.what());
      for (char* c = copy; *c != '\0'; ++c) {
        if (*c == '\n') *c = '\0';  // libtorch puts its trace after the first line
        if (*c == '\0') break;
      }
      what = copy;
    } catch (...) {
    }
  }
  std::fprintf(stderr, "fedalt: %s\n", what);
  std::fflush(nullptr);
  std::_Exit(static_cast<int>(kind));
}

}  // namespace

int main(int argc, char** argv) {
  fedalt::KeepTensorMemory();
  std::set_terminate(ReportUncaught);
  std::signal(SIGPIPE, SIG_IGN);
  fedalt::InstallInterruptHandler();
  try {
    const int code = fedalt::RunProgram(argc, argv);
    std::fflush(nullptr);
    // Without destructors of static objects: threads of gRPC's may still be closing a connection and use OpenSSL, which takes its
    // own state down at exit. All that is ours was written before.
    std::_Exit(code);
  } catch (...) {
    ReportUncaught();
  }
}
