// The server's journal on disk: what it keeps, what it forgets, and which pieces stay.
#include "store/server_store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/file.h"

#include "store/server_folder.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using testing::Contribute;
using testing::HasTensor;
using testing::OpenServer;
using testing::RawSql;
using testing::StoreFolder;

ServerPosition MustRecover(ServerStore& store) {
  auto position = store.Recover();
  EXPECT_TRUE(position.ok()) << position.status();
  return position.value_or(ServerPosition());
}

TEST(ServerStore, RecoversWhatWasRecorded) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  const auto store = OpenServer(folder.path());
  const ServerPosition position = MustRecover(*store);
  EXPECT_TRUE(position.agreement.starts_with("federation f\n"));
  EXPECT_EQ(position.enrolled, (std::map<int64_t, int64_t>{{0, 100}, {1, 101}}));
  EXPECT_EQ(position.enrolments.at(1), "token");
  EXPECT_EQ(position.departed, std::set<int64_t>{2});
  EXPECT_EQ(position.closed_round, 2);
  EXPECT_EQ(position.attempt, 1);
  EXPECT_EQ(position.opened_ms, testing::kBegin + 40'000);
  ASSERT_EQ(position.received.size(), 1u);
  EXPECT_EQ(position.received.at(1).weight, 2.0);
  ASSERT_EQ(position.ledger.size(), 2u);
  EXPECT_EQ(position.ledger.at(0).round, 2);
  EXPECT_FALSE(position.ended || position.paused);
  const auto published = store->LoadPublished(2);
  ASSERT_TRUE(published.ok() && published->has_value());
  EXPECT_EQ((*published)->weights.at(2), 3.0);
  EXPECT_EQ((*published)->moved.at(1), 1.5);
  EXPECT_FALSE((*store->LoadPublished(3)).has_value());
}

TEST(ServerStore, ADepartureErasesRowsAndPieces) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  const auto store = OpenServer(folder.path());
  store->Collect(std::nullopt, {});
  EXPECT_FALSE(HasTensor(*store, 'd')) << "osaka's";
  EXPECT_EQ(RawSql(folder.store(), "SELECT count(*) FROM contribution WHERE site = 2"), "0");
  EXPECT_EQ(RawSql(folder.store(), "SELECT count(*) FROM enrolment WHERE site = 2"), "0");
  EXPECT_EQ(RawSql(folder.store(), "SELECT cause FROM departure"), "the site leaves");
  EXPECT_TRUE(HasTensor(*store, 'f') && HasTensor(*store, 'g'));
  ASSERT_TRUE(store->SaveDeparture(1, "too").ok());
  store->Collect(std::nullopt, {});
  EXPECT_FALSE(HasTensor(*store, 'f') || HasTensor(*store, 'g'));
  const ServerPosition position = MustRecover(*store);
  EXPECT_TRUE(position.received.empty());
  EXPECT_EQ(position.ledger.size(), 1u);
  ASSERT_TRUE(store->SaveEnrolment(1, 7, "anew").ok()) << "it may come again";
}

TEST(ServerStore, AnotherSitesSamePieceStaysWhenOneLeaves) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  const auto store = OpenServer(folder.path());
  Contribute(*store, 0, 3, 1, 'g');  // the same bytes as lyon's
  ASSERT_TRUE(store->SaveDeparture(1, "").ok());
  store->Collect(std::nullopt, {});
  EXPECT_TRUE(HasTensor(*store, 'g'));
}

TEST(ServerStore, PiecesOfReplacedContributionsLeaveTheDiskAndPublishedOnesStay) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  const auto store = OpenServer(folder.path());
  const ChunkList begun = testing::PutTensor(*store, 'x');  // somebody is about to commit it
  testing::PutTensor(*store, 'y');
  testing::PutTensor(*store, 'z');
  const auto name_of = [](char fill) { return Sha256(std::string(3 * sizeof(float), fill)); };
  store->Collect(std::set<Sha256Digest>{name_of('y'), name_of('e')}, {});
  EXPECT_FALSE(HasTensor(*store, 'y'));
  EXPECT_TRUE(HasTensor(*store, 'z')) << "it was not asked for";
  store->Collect(std::nullopt, {begun.digests.begin(), begun.digests.end()});
  for (const char gone : {'a', 'b', 'c', 'z'}) EXPECT_FALSE(HasTensor(*store, gone)) << gone;
  for (const char kept : {'e', 'f', 'g', 'S', 'T', 'x'}) EXPECT_TRUE(HasTensor(*store, kept)) << kept;
}

TEST(ServerStore, ADamagedChunkIsToldAndHealedByItsContent) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  const auto store = OpenServer(folder.path());
  const std::string content(3 * sizeof(float), 'S');
  const Sha256Digest digest = Sha256(content);
  const std::filesystem::path file = ObjectPath(folder.path(), digest);
  for (const std::string damaged : {std::string(3 * sizeof(float), 'Q'), std::string("short"), std::string()}) {
    ASSERT_TRUE(WriteFileAtomic(file, damaged).ok());
    EXPECT_EQ(KindOf(store->GetChunk(digest).status()), ErrorKind::kIntegrity);
    ASSERT_TRUE(store->PutChunk(digest, content).ok());
    EXPECT_EQ(*store->GetChunk(digest), content);
  }
  std::filesystem::remove(file);
  EXPECT_EQ(KindOf(store->GetChunk(digest).status()), ErrorKind::kIntegrity);
}

TEST(ServerStore, WhoIsLeftOutIsKnownAfterARestartAndInThePublication) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  auto store = OpenServer(folder.path());
  ASSERT_TRUE(store->SaveLeftOut(3, 1, 0, "its numbers").ok());
  EXPECT_EQ(MustRecover(*store).left_out, (std::map<int64_t, std::string>{{0, "its numbers"}}));
  PublishedObject published;
  published.round = 3;
  published.chunks = testing::PutTensor(*store, 'U');
  published.contributors = {{1, 3}};
  published.left_out = {{0, "its numbers"}, {2, "its norm"}};
  published.total_weight = 2.0;
  testing::Close(*store, published, {{1, 3, 'g'}});
  EXPECT_EQ((*store->LoadPublished(3))->left_out, published.left_out);
  EXPECT_TRUE(MustRecover(*store).left_out.empty());
  EXPECT_EQ(RawSql(folder.store(), "SELECT group_concat(subject) FROM audit_entry WHERE kind = 'left_out'"), "graz,osaka");
}

TEST(ServerStore, PausesAndEnds) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  auto store = OpenServer(folder.path());
  ASSERT_TRUE(store->SavePause("first", /*for_sites=*/false).ok());
  ASSERT_TRUE(store->SavePause("second", /*for_sites=*/true).ok());
  EXPECT_EQ(MustRecover(*store).paused, "second");
  EXPECT_TRUE(MustRecover(*store).paused_for_sites);
  ASSERT_TRUE(store->SaveResume(testing::kBegin + 90'000).ok());
  ServerPosition position = MustRecover(*store);
  EXPECT_FALSE(position.paused.has_value());
  EXPECT_EQ(position.opened_ms, testing::kBegin + 90'000);
  EXPECT_EQ(RawSql(folder.store(), "SELECT opened_ms FROM attempt WHERE round = 2"), std::to_string(testing::kBegin + 20'000))
      << "only the open attempt has its time again";
  ASSERT_TRUE(store->SaveEnd("enough").ok());
  store.reset();
  EXPECT_EQ(MustRecover(*OpenServer(folder.path())).ended, "enough");
}

TEST(ServerStore, StartsCountUpAndOneServerHasTheDirectory) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  auto store = OpenServer(folder.path());
  EXPECT_EQ(store->SaveStart({"x"}).value_or(0), 3);
  EXPECT_EQ(store->SaveStart({"y"}).value_or(0), 4);
  EXPECT_TRUE(DirectoryLock::IsTaken(folder.path()).value_or(false));
  const auto second = ServerStore::Open(folder.path(), {"run-7", {"graz"}, [] { return int64_t{1}; }, {}});
  EXPECT_EQ(KindOf(second.status()), ErrorKind::kUsage);
  store.reset();
  EXPECT_FALSE(DirectoryLock::IsTaken(folder.path()).value_or(true));
  const auto other = ServerStore::Open(folder.path(), {"run-8", {"graz"}, [] { return int64_t{1}; }, {}});
  EXPECT_EQ(KindOf(other.status()), ErrorKind::kOutput) << "another run";
}

TEST(ServerStore, RequestsAreDoneInOrder) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  const auto store = OpenServer(folder.path());
  const auto database = testing::OpenStore(folder.store());
  const auto ask = [&](OperatorRequest::Kind kind, const std::string& site) {
    return AskOperator(*database, {0, kind, site, "why"}, 1).value_or(0);
  };
  const int64_t erase = ask(OperatorRequest::Kind::kErase, "lyon"), stop = ask(OperatorRequest::Kind::kStop, "");
  EXPECT_EQ(OutcomeOf(*database, erase).value(), std::nullopt);
  auto requests = store->OperatorRequests();
  ASSERT_TRUE(requests.ok());
  ASSERT_EQ(requests->size(), 2u);
  EXPECT_EQ((*requests)[0].id, erase);
  EXPECT_EQ((*requests)[0].kind, OperatorRequest::Kind::kErase);
  EXPECT_EQ((*requests)[0].site, "lyon");
  EXPECT_EQ((*requests)[1].cause, "why");
  ASSERT_TRUE(store->FinishRequest(erase, "done").ok());
  EXPECT_EQ(OutcomeOf(*database, erase).value(), "done");
  requests = store->OperatorRequests();
  ASSERT_EQ(requests->size(), 1u);
  EXPECT_EQ(requests->front().id, stop);
}

TEST(ServerStore, RecordsFollowEachOther) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  const auto store = OpenServer(folder.path());
  const auto first = store->RecordOf(1), second = store->RecordOf(2);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_TRUE(testing::CheckToySignature("server", second->bytes, second->signature));
  const auto record = ParseRecord(second->bytes);
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->previous_round, 1);
  EXPECT_EQ(record->previous, RecordDigest(first->bytes));
  EXPECT_GT(record->log.size, ParseRecord(first->bytes)->log.size);
  ASSERT_NE(record->ContributionOf("osaka"), nullptr);
  EXPECT_EQ(record->ContributionOf("osaka")->round, 1);
  EXPECT_TRUE(absl::IsNotFound(store->RecordOf(3).status()));
}

TEST(ServerStore, TheFirstCountersignatureStays) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  const auto store = OpenServer(folder.path());
  const auto count = [&] { return RawSql(folder.store(), "SELECT count(*) FROM audit_entry"); };
  const std::string before = count();
  ASSERT_TRUE(store->SaveAdoption(1, 1, "", "pinned to round 0").ok());
  ASSERT_TRUE(store->SaveAdoption(2, 1, "another", "").ok());
  ASSERT_TRUE(store->SaveAdoption(2, 1, "", "the guard refused it").ok());
  EXPECT_EQ(count(), before) << "it is all known";
  ASSERT_TRUE(store->SaveAdoption(1, 1, "later", "").ok()) << "it is pinned no longer";
  const auto adoptions = store->AdoptionsOf(1);
  ASSERT_TRUE(adoptions.ok()) << adoptions.status();
  ASSERT_EQ(adoptions->size(), 2u);
  EXPECT_EQ((*adoptions)[0].site, "lyon");
  EXPECT_EQ((*adoptions)[0].signature, "later");
  EXPECT_EQ((*adoptions)[1].site, "osaka");
}

TEST(ServerStore, AdaptersAreReadableByTheirOwnerOnly) {
  const StoreFolder folder;
  const mode_t before = ::umask(0);
  const auto store = OpenServer(folder.path());
  const Sha256Digest digest = testing::PutTensor(*store, 'a').digests.front();
  ::umask(before);
  const auto mode = [](const fs::path& path) { return fs::status(path).permissions(); };
  EXPECT_EQ(mode(ObjectPath(folder.path(), digest)), fs::perms(0600));
  EXPECT_EQ(mode(folder.path() / "objects"), fs::perms(0700));
}

TEST(ServerStore, ADatabaseOfAnOlderVersionIsRefusedAndStaysAsItIs) {
  const StoreFolder folder;
  testing::RecordRun(folder.path());
  RawSql(folder.store(), "PRAGMA user_version = 3");
  const auto store = ServerStore::Open(folder.path(), {"run-7", {"graz"}, [] { return 0; }, nullptr});
  EXPECT_EQ(KindOf(store.status()), ErrorKind::kOutput);
  EXPECT_NE(std::string(store.status().message()).find("schema version 3"), std::string::npos) << store.status();
  EXPECT_EQ(RawSql(folder.store(), "PRAGMA user_version"), "3");
}

}  // namespace
}  // namespace fedalt
