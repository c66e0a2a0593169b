// A site's directory for tests, and two rounds that were recorded in it as a site would.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "store/signed_log.h"
#include "store/site_store.h"

namespace fedalt::testing {

inline SiteStore OpenSite(const StoreFolder& folder) {
  return {folder.store(),
          {"osaka", [] { return int64_t{1'700'000'000'000}; },
           [](std::string_view message) { return ToySignature("osaka", message); }}};
}

/// The record of a round, signed by the toy server; the first, or after another.
inline SignedRecord RecordAfter(int64_t round, const SignedRecord* before = nullptr) {
  RoundRecord record;
  record.run = "run-7";
  record.round = round;
  record.previous_round = before == nullptr ? 0 : round - 1;
  if (before != nullptr) record.previous = RecordDigest(before->bytes);
  record.total_weight = 1.0;
  record.contents = {{"", std::string(64, 'a')}};
  record.contributors = {{"osaka", round, 1.0, std::string(64, 'b')}};
  record.log.size = static_cast<uint64_t>(10 * round);
  const std::string bytes = EncodeRecord(record);
  return {bytes, ToySignature("server", bytes)};
}

inline void RecordRounds(const StoreFolder& folder) {
  SiteStore store = OpenSite(folder);
  ASSERT_TRUE(store.Begin("run-7").ok());
  const SignedRecord first = RecordAfter(1);
  for (const int64_t round : {1, 2}) {
    const RecordedContribution sent{"osaka", round, 1.0, std::string(64, 'b')};
    ASSERT_TRUE(store.SaveSent(sent, {{"round", round}, {"weight", 1.0}, {"content_sha256", sent.content}}).ok());
    ASSERT_TRUE(store.SaveRecord(round, round == 1 ? first : RecordAfter(2, &first)).ok());
    ASSERT_TRUE(store.Note("rest_of_world", {{"round", round}, {"adopted", true}}).ok());
    ASSERT_TRUE(store.Seal().ok());
  }
}

}  // namespace fedalt::testing
