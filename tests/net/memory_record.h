// A site's record in memory, and signatures that are words: whoever knows the name can make them.
#pragma once

#include <nlohmann/json.hpp>
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
  StatusOr<SignedHead> LastHead() override { return heads.empty() ? SignedHead() : heads.back(); }
  Status SaveHead(const SignedHead& head) override {
    heads.push_back(head);
    return absl::OkStatus();
  }

  std::string run;
  std::vector<std::pair<std::string, nlohmann::json>> entries;
  std::vector<SignedHead> heads;
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
