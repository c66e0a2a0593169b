// A site's record in memory, and signatures that are words: whoever knows the name can make them.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fed/site_record.h"
#include "net/signatures.h"

namespace fedalt::testing {

class MemoryRecord : public SiteRecord {
 public:
  Status Begin(const std::string& run) override {
    if (!this->run.empty() && this->run != run) return FederationError("the record is about another run");
    this->run = run;
    return absl::OkStatus();
  }
  Status Note(const std::string& kind, const nlohmann::json& body) override {
    entries.emplace_back(kind, body);
    return absl::OkStatus();
  }
  Status Seal() override {
    ++seals;
    return absl::OkStatus();
  }
  StatusOr<int64_t> LastRound() override { return records.empty() ? 0 : records.rbegin()->first; }
  StatusOr<std::optional<SignedRecord>> RecordOf(int64_t round) override {
    const auto found = records.find(round);
    return found == records.end() ? std::optional<SignedRecord>() : found->second;
  }
  Status SaveRecord(int64_t round, const SignedRecord& record) override {
    records[round] = record;
    return absl::OkStatus();
  }
  Status SaveSent(const RecordedContribution& contribution, const nlohmann::json& body) override {
    sent[contribution.round] = contribution;
    return Note("upload", body);
  }
  StatusOr<std::optional<RecordedContribution>> SentIn(int64_t round) override {
    const auto found = sent.find(round);
    return found == sent.end() ? std::optional<RecordedContribution>() : found->second;
  }

  std::string run;
  std::vector<std::pair<std::string, nlohmann::json>> entries;
  std::map<int64_t, SignedRecord> records;
  std::map<int64_t, RecordedContribution> sent;
  int seals = 0;
};

inline Signatures ToySignatures(int64_t signer) {
  const auto sign = [](int64_t of, std::string_view message) { return absl::StrCat("signed by ", of, ": ", std::string(message)); };
  Signatures signatures;
  signatures.sign = [=](std::string_view message) { return sign(signer, message); };
  signatures.verifies = [=](int64_t of, std::string_view message, std::string_view signature) {
    return signature == sign(of, message);
  };
  return signatures;
}

}  // namespace fedalt::testing
