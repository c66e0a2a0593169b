// The program: sets up the process, then app/program.cc does the rest.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "app/command.h"
#include "base/interrupt.h"
#include "model/tensor_memory.h"

namespace {

// What nobody caught, in this thread or another: one line, no trace.
[[noreturn]] void ReportUncaught() {
  const char* what = "an unknown exception";
  if (const std::exception_ptr current = std::current_exception()) {
    try {
      std::rethrow_exception(current);
    } catch (const std::bad_alloc&) {
      what = "out of memory";
    } catch (const std::exception& error) {
      static char copy[400];
      std::snprintf(copy, sizeof copy, "%s", error.what());
      for (char* c = copy; *c != '\0'; ++c) {
        if (*c == '\n') *c = '\0';  // libtorch puts its trace after the first line
        if (*c == '\0') break;
      }
      what = copy;
    } catch (...) {
    }
  }
  std::fprintf(stderr, "fedalt: internal error: %s\n", what);
  std::fflush(nullptr);
  std::_Exit(1);
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
