// A site's record on disk: its audit log, the records of rounds that it was shown, and what it sent, in one SQLite file.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "fed/site_record.h"
#include "store/audit_log.h"
#include "store/database.h"

namespace fedalt {

struct SiteStoreOptions {
  std::string site;                 ///< its name: who signs
  std::function<int64_t()> now_ms;  ///< Unix time
  std::function<std::string(std::string_view message)> sign;
};

class SiteStore : public SiteRecord {
 public:
  /// The file is made, or opened again, by Begin.
  SiteStore(std::filesystem::path file, SiteStoreOptions options) : file_(std::move(file)), options_(std::move(options)) {}

  Status Begin(const std::string& run) override;
  Status Note(const std::string& kind, const nlohmann::json& body) override;
  Status Seal() override;
  StatusOr<int64_t> LastRound() override;
  StatusOr<std::optional<SignedRecord>> RecordOf(int64_t round) override;
  Status SaveRecord(int64_t round, const SignedRecord& record) override;
  Status SaveSent(const RecordedContribution& sent, const nlohmann::json& body) override;
  StatusOr<std::optional<RecordedContribution>> SentIn(int64_t round) override;

 private:
  Status Record(Statement& fact, const std::string& kind, const nlohmann::json& body);

  std::filesystem::path file_;
  SiteStoreOptions options_;
  std::unique_ptr<Database> database_;
  std::optional<AuditLog> log_;        // since Begin
  std::string last_kind_, last_body_;  // of the last entry
};

}  // namespace fedalt
