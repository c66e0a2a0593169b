#include "store/run_view.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "store/server_folder.h"
#include "store/server_now.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using testing::RawSql;
using testing::StoreFolder;

std::unique_ptr<RunView> MustOpen(const fs::path& directory) {
  auto view = RunView::Open(directory);
  EXPECT_TRUE(view.ok()) << view.status();
  return view.ok() ? std::move(*view) : nullptr;
}

RunState StateOf(const fs::path& directory) {
  const auto state = MustOpen(directory)->State();
  EXPECT_TRUE(state.ok()) << state.status();
  return state.value_or(RunState());
}

TEST(RunView, StateOfARun) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  const RunState state = StateOf(folder.path());
  EXPECT_EQ(state.run, "run-7");
  EXPECT_EQ(state.phase, RunPhase::kCollecting);
  EXPECT_EQ(state.round, 3);
  EXPECT_EQ(state.attempt, 1);
  EXPECT_EQ(state.since_ms, testing::kBegin + 40'000) << "since the run was resumed";
  EXPECT_FALSE(state.server_at_work);
  EXPECT_EQ(state.deadline_ms, std::nullopt) << "no time passes while there is no server";
  EXPECT_EQ(state.starts, 2);
  EXPECT_EQ(state.published_round, 2);
  EXPECT_EQ(state.requests_waiting, 0);
  EXPECT_EQ(std::to_string(state.log_entries), RawSql(folder.store(), "SELECT count(*) FROM audit_entry"));
  EXPECT_EQ(std::to_string(state.signed_entries),
            RawSql(folder.store(), "SELECT max(sequence) FROM audit_entry WHERE kind = 'round.closed'"));
  ASSERT_EQ(state.sites.size(), 3u);
  const SiteView &graz = state.sites[0], &lyon = state.sites[1], &osaka = state.sites[2];
  EXPECT_TRUE(graz.enrolled && graz.awaited && !graz.contributed);
  EXPECT_EQ(graz.train_examples, 100);
  EXPECT_EQ(graz.last_round, 2);
  EXPECT_TRUE(lyon.enrolled && !lyon.awaited && lyon.contributed);
  EXPECT_EQ(lyon.last_weight, 2.0);
  EXPECT_TRUE(!osaka.enrolled && !osaka.awaited && !osaka.contributed);
  EXPECT_EQ(osaka.left, "the site leaves");
  EXPECT_EQ(osaka.last_round, 0);
  EXPECT_EQ(osaka.adopted_round, 1);
  EXPECT_EQ(lyon.adopted_round, 0) << "it refused";
}

TEST(RunView, WorksBesideAServerAndSeesIt) {
  const StoreFolder folder;
  const auto store = testing::OpenServer(folder.path());
  EXPECT_FALSE(RunView::Open(folder.path()).ok()) << "no run has begun";
  ASSERT_TRUE(store->SaveAgreement("site graz\n").ok());
  ASSERT_TRUE(store->SaveStart({"first"}).ok());
  RunState state = StateOf(folder.path());
  EXPECT_TRUE(state.server_at_work);
  EXPECT_EQ(state.phase, RunPhase::kEnrolling);
  EXPECT_EQ(state.since_ms, state.last_start_ms);
  EXPECT_EQ(state.deadline_ms, state.last_start_ms + 60'000);
  EXPECT_EQ(state.published_round, 0);
  const auto view = MustOpen(folder.path());
  ASSERT_TRUE(store->SavePause("lunch", /*for_sites=*/false).ok());
  EXPECT_EQ(view->State()->phase, RunPhase::kEnrolling) << "one state, whatever others write";
  state = StateOf(folder.path());
  EXPECT_EQ(state.phase, RunPhase::kPaused);
  EXPECT_EQ(state.cause, "lunch");
  ASSERT_TRUE(store->SaveEnd("good enough").ok());
  state = StateOf(folder.path());
  EXPECT_EQ(state.phase, RunPhase::kEnded);
  EXPECT_EQ(state.cause, "good enough");
  EXPECT_FALSE(state.deadline_ms.has_value());
}

TEST(RunView, AwaitsOnlyTheCohort) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  ASSERT_TRUE(testing::OpenServer(folder.path())->AbandonAttempt(3, 1, "only one came").ok());
  EXPECT_EQ(StateOf(folder.path()).waiting_text, "the next step") << "between two attempts";
  ASSERT_TRUE(testing::OpenServer(folder.path())->OpenAttempt(3, 2, testing::kBegin, {0, 2}).ok());
  const RunState state = StateOf(folder.path());
  EXPECT_EQ(state.waiting_text, "the contributions of graz") << "osaka has left, and lyon was not drawn";
  for (int64_t site = 0; site < 3; ++site) {
    EXPECT_EQ(state.sites[static_cast<size_t>(site)].awaited, site == 0) << site;
    EXPECT_EQ(state.sites[static_cast<size_t>(site)].in_cohort, site != 1) << site;
  }
}

TEST(RunView, WhatIsKnownOfTheSitesBesideTheDatabase) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  EXPECT_EQ(StateOf(folder.path()).sites[0].heard_ms, std::nullopt);
  const ServerNow now = {2, 0, {{"graz", 7}, {"nobody", 8}}, {{"site graz", 9}, {"this server", 10}}};
  ASSERT_TRUE(WriteServerNow(folder.path(), now).ok());
  EXPECT_EQ(ReadServerNow(folder.path()), now);
  const RunState state = StateOf(folder.path());
  EXPECT_EQ(state.sites[0].heard_ms, 7);
  EXPECT_EQ(state.sites[0].not_after_s, 9);
  EXPECT_EQ(state.sites[1].heard_ms, std::nullopt);
  EXPECT_EQ(state.not_after_s.at("this server"), 10);
  for (const char* broken : {"", "[]", "{\"heard_ms\": [1], \"not_after_s\": {\"site graz\": \"x\"}}", "\xff"}) {
    ASSERT_TRUE(WriteFileAtomic(folder.path() / "now.json", broken).ok());
    EXPECT_EQ(ReadServerNow(folder.path()), ServerNow()) << broken;
  }
}

TEST(RunView, Versions) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  const auto view = MustOpen(folder.path());
  EXPECT_EQ(*view->Published(), (std::vector<int64_t>{1, 2}));
  const auto first = view->Version(1), second = view->Version(2);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->parent, 0);
  EXPECT_EQ(first->adopted, (std::vector<std::string>{"osaka"}));
  EXPECT_EQ(first->refused, (std::map<std::string, std::string>{{"lyon", "pinned to round 0"}}));
  EXPECT_EQ(second->parent, 1);
  EXPECT_EQ(second->parent_contributors, (std::map<int64_t, int64_t>{{0, 1}, {1, 1}, {2, 1}}));
  EXPECT_EQ(second->object.contributors, (std::map<int64_t, int64_t>{{0, 2}, {1, 2}, {2, 1}}));
  EXPECT_EQ(second->object.moved.at(1), 1.5);
  EXPECT_TRUE(second->adopted.empty());
  EXPECT_EQ(second->record.size(), 64u);
  EXPECT_NE(second->record, first->record);
}

TEST(RunView, ValuesAreCheckedAgainstTheirHashes) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  auto view = MustOpen(folder.path());
  VersionView version = *view->Version(2);
  const ChunkList chunks = version.object.chunks;
  const auto values = view->Values(version, chunks, "");
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_EQ(HexOf(Sha256(ChunkOf(*values, 0))), HexOf(Sha256(std::string(12, 'T'))));
  EXPECT_EQ(KindOf(view->Values(version, view->Version(1)->object.chunks, "").status()), ErrorKind::kIntegrity);
  EXPECT_EQ(KindOf(view->Values(version, chunks, "graz").status()), ErrorKind::kIntegrity);
  const fs::path piece = ObjectPath(folder.path(), chunks.digests.front());
  ASSERT_TRUE(WriteFileAtomic(piece, std::string(12, 'x')).ok());
  const Status damaged = view->Values(version, chunks, "").status();
  EXPECT_EQ(KindOf(damaged), ErrorKind::kOutput);
  EXPECT_NE(damaged.message().find("is damaged"), std::string::npos) << damaged;
  fs::remove(piece);
  EXPECT_EQ(KindOf(view->Values(version, chunks, "").status()), ErrorKind::kOutput);
}

TEST(RunView, Tables) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  const auto view = MustOpen(folder.path());
  const auto attempts = view->Attempts();
  ASSERT_EQ(attempts->size(), 4u);
  EXPECT_EQ(attempts->front().abandoned, "only one came");
  EXPECT_TRUE((*attempts)[1].published);
  EXPECT_EQ((*attempts)[1].contributions, 2) << "osaka's was erased";
  EXPECT_FALSE(attempts->back().published || attempts->back().abandoned);
  std::string uses;
  const auto contributions = view->Contributions();
  for (const ContributionView& entry : *contributions)
    uses += view->NameOf(entry.contribution.site)[0] + std::to_string(static_cast<int>(entry.use)) + " ";
  EXPECT_EQ(uses, "g3 g2 l2 g1 l1 l0 ");
  const auto requests = view->Requests();
  ASSERT_EQ(requests->size(), 1u);
  EXPECT_EQ(requests->front().kind, "pause");
  EXPECT_EQ(requests->front().outcome, "done");
  const auto metrics = view->Metrics();
  ASSERT_EQ(metrics->size(), 2u);
  EXPECT_EQ(metrics->front().value, 0.25);
  EXPECT_EQ(view->NameOf(7), "7");
}

TEST(RunView, RefusesWhatIsNoServersDirectory) {
  const StoreFolder folder;
  const auto expect = [](const fs::path& directory, ErrorKind kind, const std::string& part) {
    const Status status = RunView::Open(directory).status();
    EXPECT_EQ(KindOf(status), kind) << status;
    EXPECT_NE(status.message().find(part), std::string::npos) << status;
  };
  expect(folder.path() / "absent", ErrorKind::kUsage, "there is no such directory");
  expect(folder.path(), ErrorKind::kUsage, "holds no store.db");
  ASSERT_TRUE(Database::Open(folder.store(), SiteMigrations()).ok());
  expect(folder.path(), ErrorKind::kUsage, "is not a server's directory, perhaps a site's");
  fs::remove(folder.store());
  ASSERT_TRUE(Database::Open(folder.store(), StoreMigrations()).ok());
  RawSql(folder.store(), "PRAGMA user_version = 3");
  expect(folder.path(), ErrorKind::kOutput, "was written by an older fedalt");
}

}  // namespace
}  // namespace fedalt
