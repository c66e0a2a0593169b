#include "base/interrupt.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

namespace fedalt {
namespace {

// Each case runs in a process of its own.
TEST(InterruptDeathTest, TheFirstSignalOnlySetsTheFlag) {
  for (int signal : {SIGINT, SIGTERM}) {
    EXPECT_EXIT(
        {
          InstallInterruptHandler();
          if (InterruptRequested()) ::_exit(1);
          std::raise(signal);
          ::_exit(InterruptRequested() ? 42 : 2);
        },
        testing::ExitedWithCode(42), "stopping at the next safe point");
  }
}

TEST(InterruptDeathTest, TheSecondSignalEndsTheProcess) {
  EXPECT_EXIT(
      {
        InstallInterruptHandler();
        std::raise(SIGINT);
        std::raise(SIGINT);
        ::_exit(0);
      },
      testing::KilledBySignal(SIGINT), "Ctrl-C once more stops at once");
  EXPECT_EXIT(
      {
        InstallInterruptHandler();
        std::raise(SIGINT);
        std::raise(SIGTERM);
        ::_exit(0);
      },
      testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace fedalt
