// label: slow
// The example of a server and three sites as processes: both kinds are killed, and the end is that of one machine.
#include "app/cli_process.h"

namespace fedalt::testing {
namespace {

TEST(ThreeSites, SurviveTheirKillsWithTheBitsOfOneMachine) {
  const TestFolder folder;
  const std::string build = std::filesystem::path(FEDALT_PROGRAM).parent_path().string(), out = (folder.path() / "out").string();
  const std::string log = (folder.path() / "log.txt").string();
  const std::string command =
      "FEDALT_BUILD='" + build + "' timeout 300 '" FEDALT_SOURCE "/examples/three-sites/run.sh' '" + out + "' > '" + log + "' 2>&1";
  const int status = std::system(command.c_str());
  const std::string said = Slurp(log);
  ASSERT_TRUE(WIFEXITED(status)) << said;
  EXPECT_EQ(WEXITSTATUS(status), 0) << said;
  EXPECT_TRUE(said.ends_with("\nfinal adapters: identical to the single-machine run\n")) << said;
  EXPECT_NE(said.find("killed server (kill -9): round 2"), std::string::npos) << said;
  EXPECT_NE(said.find("killed osaka (kill -9): round 4"), std::string::npos) << said;
}

}  // namespace
}  // namespace fedalt::testing
