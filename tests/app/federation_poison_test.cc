// label: slow
// A member sends values that poison what is published; its operator erases it, and every site adopts anew: the remedies of
// docs/operations.md, on real processes. The member is a session in this process.
#include <nlohmann/json.hpp>
#include <sstream>

#include "app/federation_files.h"
#include "app/federation_processes.h"
#include "federation.pb.h"
#include "model/safetensors.h"
#include "net/grpc_connection.h"
#include "net/site_session.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

/// The third site, c, with valid keys and values of its own choice.
class Poisoner {
 public:
  Poisoner(SiteSessionOptions options, const TlsIdentity& identity, const std::string& port, int64_t values)
      : connection_("127.0.0.1:" + port, identity, nullptr),
        session_(std::move(options), connection_, clock_, nullptr),
        values_(values) {}

  Status Enrol() { return session_.Enrol(true); }
  /// All values the same, in a round that it waits for; and what the round publishes.
  Status Send(int64_t round, float value) {
    RETURN_IF_ERROR(session_.Send({round, 2, 1.0, at::full({values_}, value)}));
    return session_.CloseRound(round).status();
  }
  /// Until everybody else has sent; this one sends nothing.
  Status AwaitOthers(int64_t round) {
    constexpr int64_t kWaitMs = 20'000;
    v1::PollRequest poll;
    poll.set_run(session_.run());
    poll.set_wait_ms(kWaitMs);
    for (;;) {
      ASSIGN_OR_RETURN(const std::string answer, connection_.Call(Rpc::kPoll, poll.SerializeAsString(), 2 * kWaitMs));
      v1::RunState state;
      if (!state.ParseFromString(answer) || state.round() > round || state.phase() == v1::PHASE_ENDED)
        return FederationError("the round was closed without this site");
      if (state.round() == round && state.phase() == v1::PHASE_COLLECTING && state.waiting_for() == "the contributions of c")
        return absl::OkStatus();
      poll.set_known_version(state.version());
    }
  }

 private:
  SystemClock clock_;
  GrpcConnection connection_;
  SiteSession session_;
  int64_t values_;
};

class FederationPoison : public testing::FederationProcesses {
 protected:
  FederationPoison() : testing::FederationProcesses(3) {}

  static at::Tensor Values(const fs::path& file, const std::string& name) {
    const auto opened = TensorFiles::OpenFile(file);
    EXPECT_TRUE(opened.ok()) << opened.status();
    const auto tensor = (**opened).Get(name);
    EXPECT_TRUE(tensor.ok()) << tensor.status();
    return tensor->to(at::kDouble).reshape({-1}).clone();
  }
  std::unique_ptr<Poisoner> MakePoisoner(const std::string& out, const testing::SiteYaml& files) const {
    const auto party = LoadPartyConfig(folder().path() / WriteSite(out, "c", files), Party::kSite);
    EXPECT_TRUE(party.ok()) << party.status();
    const auto keys = LoadPartyKeys(*party, Party::kSite);
    EXPECT_TRUE(keys.ok()) << keys.status();
    const auto config = LoadSharedConfig(*party, keys->roster);
    EXPECT_TRUE(config.ok()) << config.status();
    SiteSessionOptions options;
    options.agreement = AgreementOf(*config, keys->roster).value_or("");
    options.train_examples = 4;
    options.process = "poisoner";
    options.site = "c";
    options.sites = sites_;
    const int64_t values = Values(folder().path() / "single/rounds/001/a/sent.safetensors", "sent").numel();
    return std::make_unique<Poisoner>(std::move(options), keys->identity, port_, values);
  }
  /// What the site did in each of its rounds.
  std::map<int64_t, nlohmann::json> RoundsOf(const std::string& out, const std::string& site) const {
    std::istringstream lines(testing::Slurp(folder().path() / out / site / "metrics.jsonl"));
    std::map<int64_t, nlohmann::json> rounds;
    for (std::string line; std::getline(lines, line);)
      if (const auto json = nlohmann::json::parse(line); json["site"] == site) rounds[json["round"]] = json;
    return rounds;
  }
  void Erase(const std::string& out) const {
    Fedalt({"erase", out + "/server", "--site", "c", "--cause", "it diverged", "--wait", "600"});
  }
  std::string ContributorsOf(const std::string& out, int64_t round) const {
    return Sql(out, "SELECT group_concat(site) FROM (SELECT site FROM contributor WHERE round = " + std::to_string(round) +
                        " ORDER BY site)");
  }
};

TEST_F(FederationPoison, SitesThatRefusedItAdoptTheNextVersion) {
  const auto server = StartServerAndReadOn("poisoned", {.minimum_cohort = 2});
  const auto a = StartSiteAndReadOn("poisoned", "a"), b = StartSiteAndReadOn("poisoned", "b");
  const auto c = MakePoisoner("poisoned", {});
  Status done = c->Enrol();
  ASSERT_TRUE(done.ok()) << done;
  done = c->Send(1, 1e5F);
  ASSERT_TRUE(done.ok()) << done;
  done = c->AwaitOthers(2);
  ASSERT_TRUE(done.ok()) << done;
  const auto shown =
      nlohmann::json::parse(testing::RunFedalt(folder(), {"show", "poisoned/server", "1", "--format", "json"}).out, nullptr, false);
  ASSERT_TRUE(shown.is_object());
  for (const auto& of : shown["contributors"])
    EXPECT_EQ(of["moved_share"].get<double>() > 0.99, of["site"] == "c") << "who poisoned it is seen: " << of;
  Erase("poisoned");
  for (auto* process : {a.get(), b.get(), server.get()}) ExpectEndsWell(*process);

  EXPECT_EQ(ContributorsOf("poisoned", 1), "0,1,2");
  for (const int64_t round : {2, 3}) EXPECT_EQ(ContributorsOf("poisoned", round), "0,1");
  EXPECT_EQ(Sql("poisoned", "SELECT count(*) FROM contribution WHERE site = 2"), "0");
  for (const std::string site : {"a", "b"}) {
    const auto rounds = RoundsOf("poisoned", site);
    EXPECT_NE(rounds.at(1).value("refused", "").find("its norm is out of bounds"), std::string::npos) << rounds.at(1);
    for (const int64_t round : {2, 3}) {
      EXPECT_EQ(rounds.at(round)["reads_round"], round) << rounds.at(round);
      EXPECT_FALSE(rounds.at(round).contains("refused")) << rounds.at(round);
      EXPECT_EQ(rounds.at(round)["counted_round"], round) << rounds.at(round);
    }
    ExpectVerified("poisoned/" + site);
  }
  // The next version is what the others sent, and nothing else.
  const fs::path root = folder().path() / "poisoned";
  const at::Tensor sum =
      Values(root / "a/rounds/002/a/sent.safetensors", "sent") + Values(root / "b/rounds/002/b/sent.safetensors", "sent");
  EXPECT_TRUE(at::allclose(Values(root / "a/rounds/002/published.safetensors", "values"), sum, 1e-6, 1e-6));
  ExpectVerified("poisoned/server");
}

TEST_F(FederationPoison, ASiteThatAdoptedItGoesBackAndAdoptsAnew) {
  const testing::SiteYaml many_rounds = {.federation = "long.yaml"};
  const auto server = StartServerAndReadOn("adopted", {.federation = "long.yaml", .minimum_cohort = 2});
  auto a = StartSiteAndReadOn("adopted", "a", many_rounds);
  const auto b = StartSiteAndReadOn("adopted", "b", many_rounds);
  const auto c = MakePoisoner("adopted", many_rounds);
  Status done = c->Enrol();
  for (const auto& [round, value] : {std::pair{1, 0.0F}, {2, 0.02F}}) {  // harmless, then too little to be refused
    if (done.ok()) done = c->Send(round, value);
  }
  if (done.ok()) done = c->AwaitOthers(3);
  ASSERT_TRUE(done.ok()) << done;
  EXPECT_EQ(WEXITSTATUS(a->End(SIGTERM)), 130) << a->messages();
  Erase("adopted");
  const std::string yaml = WriteSite("adopted", "a", many_rounds), plain = testing::Slurp(folder().path() / yaml);
  folder().Write(yaml, plain + "rest_of_world: {pin: 1}\n");
  a = std::make_unique<testing::FedaltInStep>(folder(), std::vector<std::string>{"site", yaml});
  ASSERT_TRUE(a->ReadUntil("site a did not adopt what round 3 published: pinned to round 1")) << a->messages();
  EXPECT_EQ(WEXITSTATUS(a->End(SIGTERM)), 130) << a->messages();
  EXPECT_EQ(ContributorsOf("adopted", 3), "0,1");
  folder().Write(yaml, plain);
  a = std::make_unique<testing::FedaltInStep>(folder(), std::vector<std::string>{"site", yaml});
  a->ReadOn();
  for (auto* process : {a.get(), b.get(), server.get()}) ExpectEndsWell(*process);

  const auto rounds = RoundsOf("adopted", "a");
  EXPECT_EQ(rounds.at(2)["reads_round"], 2) << rounds.at(2);
  EXPECT_EQ(rounds.at(3)["reads_round"], 1) << "what it had trained already stands on the older version, too: " << rounds.at(3);
  EXPECT_EQ(rounds.at(kManyRounds)["reads_round"], kManyRounds) << rounds.at(kManyRounds);
  EXPECT_FALSE(rounds.at(kManyRounds).contains("refused")) << rounds.at(kManyRounds);
  EXPECT_EQ(RoundsOf("adopted", "b").at(3)["reads_round"], 3) << "who did nothing adopts the next version";
  for (const std::string party : {"server", "a", "b"}) ExpectVerified("adopted/" + party);
}

}  // namespace
}  // namespace fedalt
