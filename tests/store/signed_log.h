// An audit log with signed heads for tests. The signatures are toys: a hash over a secret of the signer and the message.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "store/audit_log.h"
#include "store/audit_verify.h"
#include "store/database.h"
#include "store/raw_database.h"
#include "store/schema.h"

namespace fedalt::testing {

inline std::string ToySignature(std::string_view signer, std::string_view message) {
  return HexOf(Sha256("secret of " + std::string(signer) + std::string(message)));
}
inline bool CheckToySignature(std::string_view signer, std::string_view message, std::string_view signature) {
  return signature == ToySignature(signer, message);
}

inline std::unique_ptr<Database> OpenStore(const std::filesystem::path& path) {
  auto database = Database::Open(path, StoreMigrations());
  EXPECT_TRUE(database.ok()) << database.status();
  return database.ok() ? std::move(*database) : nullptr;
}

inline AuditLog OpenLog(Database& database) {
  auto log = AuditLog::Open(database, "run-7");
  EXPECT_TRUE(log.ok()) << log.status();
  return std::move(log).value();
}

/// Entry number `i` of a test.
inline AuditEntry MustAppend(AuditLog& log, int64_t i) {
  const auto entry = log.Append(1'700'000'000'000 + i, i % 2 == 0 ? "upload" : "round", "site-" + std::to_string(i % 3),
                                {{"round", i}, {"hash", HexOf(Sha256(std::to_string(i)))}});
  EXPECT_TRUE(entry.ok()) << entry.status();
  return entry.value_or(AuditEntry());
}

inline void MustSign(AuditLog& log, const std::vector<std::string>& signers) {
  const auto head = log.Head();
  ASSERT_TRUE(head.ok()) << head.status();
  for (const std::string& signer : signers) {
    const Status status = log.StoreHead({*head, signer, ToySignature(signer, HeadMessage(log.run(), *head))});
    EXPECT_TRUE(status.ok()) << status;
  }
}

/// Entries 1 to 12; a head of 5 entries signed by server and site-a, one of 10 signed by server, site-a and site-b.
inline void WriteSignedLog(const std::filesystem::path& path) {
  const auto database = OpenStore(path);
  AuditLog log = OpenLog(*database);
  for (int64_t i = 1; i <= 12; ++i) {
    MustAppend(log, i);
    if (i == 5) MustSign(log, {"server", "site-a"});
    if (i == 10) MustSign(log, {"server", "site-a", "site-b"});
  }
}

/// What somebody with the file at hand does first.
inline constexpr char kDropTriggers[] =
    "DROP TRIGGER audit_entry_stays; DROP TRIGGER audit_entry_remains; DROP TRIGGER audit_head_stays; "
    "DROP TRIGGER audit_head_remains;";

}  // namespace fedalt::testing
