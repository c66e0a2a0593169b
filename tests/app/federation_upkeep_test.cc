// label: slow
// What docs/operations.md tells those who run a federation to do between two starts: backup, renewal, revocation. On real
// processes.
#include "app/federation_processes.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

class FederationUpkeep : public testing::FederationProcesses {
 protected:
  FederationUpkeep() : testing::FederationProcesses(3) {}

  /// Server and sites of a run of many rounds.
  struct Federation {
    std::unique_ptr<testing::FedaltInStep> server, a, b, c;
  };
  Federation Start(const std::string& out) const {
    Federation all;
    all.server = StartServerAndReadOn(out, {.federation = "long.yaml"});
    all.a = StartSite(out, "a", {.federation = "long.yaml"});
    all.b = StartSiteAndReadOn(out, "b", {.federation = "long.yaml"});
    all.c = StartSiteAndReadOn(out, "c", {.federation = "long.yaml"});
    return all;
  }
  /// As Ctrl-C does, in the middle of the run: when a has sent its first contribution.
  static void StopAll(Federation& all) {
    ASSERT_TRUE(all.a->ReadUntil("waits for the contributions of ")) << all.a->messages();
    for (auto* process : {all.a.get(), all.b.get(), all.c.get(), all.server.get()})
      EXPECT_EQ(WEXITSTATUS(process->End(SIGTERM)), 130) << process->messages();
  }
  static void ExpectAllEndWell(Federation& all) {
    for (auto* process : {all.a.get(), all.b.get(), all.c.get(), all.server.get()}) ExpectEndsWell(*process);
  }
  std::string LastRoundOf(const std::string& out, const std::string& site) const {
    return testing::Slurp(folder().path() / out / site / "rounds" / ("0" + std::to_string(kManyRounds)) / site / "individual" /
                          "adapter_model.safetensors");
  }
};

TEST_F(FederationUpkeep, ABackupOfEverybodyIsPutBack) {
  Federation first = Start("backup");
  StopAll(first);
  fs::copy(folder().path() / "backup", folder().path() / "shelf", fs::copy_options::recursive);
  Federation undisturbed = Start("backup");
  undisturbed.a->ReadOn();
  ExpectAllEndWell(undisturbed);

  fs::rename(folder().path() / "backup", folder().path() / "lost");
  fs::rename(folder().path() / "shelf", folder().path() / "backup");
  Federation again = Start("backup");
  again.a->ReadOn();
  ExpectAllEndWell(again);
  for (const std::string site : {"a", "b", "c"}) {
    EXPECT_EQ(LastRoundOf("backup", site), LastRoundOf("lost", site));
    ExpectVerified("backup/" + site);
  }
  ExpectVerified("backup/server");
  EXPECT_EQ(Sql("backup", "SELECT count(*) FROM contribution WHERE counted = 1"), std::to_string(3 * kManyRounds));
}

TEST_F(FederationUpkeep, RenewedCertificatesServeTheRestOfTheRun) {
  Federation all = Start("renewed");
  StopAll(all);
  const auto certificate = [&](const std::string& party) {
    return testing::Slurp(folder().path() / "keys" / party / "certificate.pem");
  };
  const std::string old_site = certificate("sites/a"), old_server = certificate("server");
  Fedalt({"keys", "site", "keys", "a", "--renew"});
  Fedalt({"keys", "server", "keys", "--renew"});
  EXPECT_NE(certificate("sites/a"), old_site);
  EXPECT_NE(certificate("server"), old_server);
  Federation again = Start("renewed");
  again.a->ReadOn();
  ExpectAllEndWell(again);
  for (const std::string party : {"server", "a", "b", "c"}) ExpectVerified("renewed/" + party);
}

TEST_F(FederationUpkeep, ARevokedSiteIsRefusedAndTheOthersGoOn) {
  fs::copy(folder().path() / "keys", folder().path() / "revoked-keys", fs::copy_options::recursive);
  Federation all;
  all.server = StartServerAndReadOn("revoked", {.federation = "long.yaml", .minimum_cohort = 2});
  all.a = StartSite("revoked", "a", {.federation = "long.yaml"});
  all.b = StartSiteAndReadOn("revoked", "b", {.federation = "long.yaml"});
  all.c = StartSiteAndReadOn("revoked", "c", {.federation = "long.yaml"});
  ASSERT_TRUE(all.a->ReadUntil("waits for the contributions of ")) << all.a->messages();
  all.a->ReadOn();
  EXPECT_EQ(WEXITSTATUS(all.server->End(SIGTERM)), 130) << all.server->messages();

  Fedalt({"keys", "revoke", "revoked-keys", "a"});
  all.server = StartServerAndReadOn("revoked", {.federation = "long.yaml", .keys = "revoked-keys/server", .minimum_cohort = 2});
  EXPECT_EQ(WEXITSTATUS(all.a->Wait()), 10) << all.a->messages();
  const auto status = testing::RunFedalt(folder(), {"status", "revoked/server", "--format", "json"});
  EXPECT_NE(status.out.find(R"({"name":"a","state":"revoked",)"), std::string::npos) << status.out << status.err;
  EXPECT_EQ(status.out.find(R"("heard_ms":null)"), std::string::npos) << "the stopped server has heard them all: " << status.out;
  EXPECT_NE(all.a->messages().find("the keys of a are revoked"), std::string::npos) << all.a->messages();
  for (auto* process : {all.b.get(), all.c.get(), all.server.get()}) ExpectEndsWell(*process);
  EXPECT_EQ(Sql("revoked", "SELECT max(round) FROM published"), std::to_string(kManyRounds));
  EXPECT_EQ(Sql("revoked", "SELECT count(*) FROM contribution WHERE site = 0 AND round = " + std::to_string(kManyRounds)), "0");
  for (const std::string party : {"b", "c"}) ExpectVerified("revoked/" + party);
}

}  // namespace
}  // namespace fedalt
