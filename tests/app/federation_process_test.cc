// label: slow
// A server and its sites as real processes on loopback: the bits of the single machine. What goes wrong on the way is in
// federation_faults_test.cc and federation_kills_test.cc.
#include "app/federation_processes.h"

namespace fedalt {
namespace {

class FederationProcess : public testing::FederationProcesses {};

TEST_F(FederationProcess, HasTheBitsOfTheSingleMachine) {
  const auto server = StartServerAndReadOn("run");
  const auto a = StartSiteAndReadOn("run", "a"), b = StartSiteAndReadOn("run", "b");
  for (auto* process : {a.get(), b.get(), server.get()}) ExpectEndsWell(*process);
  ExpectAllCountedOnce("run");
}

}  // namespace
}  // namespace fedalt
