#include "store/site_store.h"

#include <gtest/gtest.h>

#include "store/signed_log.h"

namespace fedalt {
namespace {

using testing::RawSql;
using testing::StoreFolder;

SiteStore StoreIn(const StoreFolder& folder) {
  return {
      folder.store(),
      {"osaka", [] { return int64_t{1'700'000'000'000}; }, [](std::string_view m) { return testing::ToySignature("osaka", m); }}};
}

std::string Entries(const StoreFolder& folder) {
  return RawSql(folder.store(), "SELECT count(*) FROM audit_entry");
}

TEST(SiteStore, AnotherRunIsRefused) {
  const StoreFolder folder;
  ASSERT_TRUE(StoreIn(folder).Begin("run-7").ok());
  EXPECT_TRUE(StoreIn(folder).Begin("run-7").ok());
  const Status other = StoreIn(folder).Begin("run-8");
  EXPECT_EQ(KindOf(other), ErrorKind::kFederation);
  EXPECT_NE(other.message().find("belongs to run run-7, but the server works on run-8"), std::string::npos) << other;
}

TEST(SiteStore, TheSameNoteTwiceIsKeptOnce) {
  const StoreFolder folder;
  {
    SiteStore store = StoreIn(folder);
    ASSERT_TRUE(store.Begin("run-7").ok());
    EXPECT_TRUE(store.Note("sent", {{"round", 1}}).ok());
    EXPECT_TRUE(store.Note("sent", {{"round", 1}}).ok());
    EXPECT_EQ(Entries(folder), "1");
  }
  SiteStore store = StoreIn(folder);
  ASSERT_TRUE(store.Begin("run-7").ok());
  EXPECT_TRUE(store.Note("sent", {{"round", 1}}).ok()) << "a site that was killed says it again";
  EXPECT_EQ(Entries(folder), "1");
  EXPECT_TRUE(store.Note("sent", {{"round", 2}}).ok());
  EXPECT_TRUE(store.Note("read", {{"round", 2}}).ok());
  EXPECT_TRUE(store.Note("sent", {{"round", 2}}).ok()) << "not twice in a row";
  EXPECT_EQ(Entries(folder), "4");
}

TEST(SiteStore, HeadsOfTheServerAreKept) {
  const StoreFolder folder;
  SignedHead head;
  head.head.size = 5;
  head.head.root = Sha256("five");
  head.signature = "signature";
  {
    SiteStore store = StoreIn(folder);
    ASSERT_TRUE(store.Begin("run-7").ok());
    EXPECT_EQ(store.LastHead()->head.size, 0u);
    ASSERT_TRUE(store.SaveHead(head).ok());
    head.head.size = 9;
    head.head.root = Sha256("nine");
    ASSERT_TRUE(store.SaveHead(head).ok());
  }
  SiteStore store = StoreIn(folder);
  ASSERT_TRUE(store.Begin("run-7").ok());
  const auto last = store.LastHead();
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_EQ(last->head.size, 9u);
  EXPECT_EQ(last->head.root, Sha256("nine"));
  EXPECT_EQ(last->signer, "server");
  EXPECT_EQ(last->signature, "signature");
  RawSql(folder.store(), "UPDATE server_head SET root = x'00'");
  EXPECT_EQ(KindOf(store.LastHead().status()), ErrorKind::kOutput);
}

TEST(SiteStore, ItsLogVerifies) {
  const StoreFolder folder;
  {
    SiteStore store = StoreIn(folder);
    ASSERT_TRUE(store.Begin("run-7").ok());
    ASSERT_TRUE(store.Note("sent", {{"round", 1}}).ok());
    ASSERT_TRUE(store.SaveHead({{3, Sha256("three")}, "server", "signature"}).ok());
    ASSERT_TRUE(store.Seal().ok());
  }
  const auto verify = [&] {
    const auto database = Database::OpenReadOnly(folder.store(), SiteMigrations());
    const auto report = VerifyAuditLog(**database, "run-7", testing::CheckToySignature);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.value_or(AuditReport());
  };
  EXPECT_TRUE(verify().findings.empty());
  EXPECT_EQ(verify().signed_by, (std::map<std::string, uint64_t>{{"osaka", 2}}));
  RawSql(folder.store(), std::string(testing::kDropTriggers) + "UPDATE audit_entry SET body = '{}' WHERE sequence = 1");
  EXPECT_EQ(verify().findings.size(), 1u);
}

}  // namespace
}  // namespace fedalt
