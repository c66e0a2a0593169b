// What a site says to its server, as messages of the protocol, and a clock that stands still until it is set.
#pragma once

#include <string>

#include "fed/chunks.h"
#include "fed/round_record.h"
#include "federation.pb.h"
#include "net/clock.h"
#include "net/server_connection.h"

namespace fedalt::testing {

class SettableClock : public Clock {
 public:
  int64_t now_ms = 1000;
  int64_t set_by_ms = 0;  ///< how far somebody has set the wall clock
  int64_t NowMs() const override { return now_ms + set_by_ms; }
  int64_t MonotonicMs() const override { return now_ms; }
  Status Sleep(int64_t ms) override {
    now_ms += ms;
    return absl::OkStatus();
  }
};

inline v1::EnrolRequest EnrolmentIn(const std::string& agreement) {
  v1::EnrolRequest request;
  request.set_oldest_protocol(kOldestProtocol);
  request.set_newest_protocol(kNewestProtocol);
  request.set_agreement(agreement);
  request.set_train_examples(5);
  return request;
}

/// What the record of the round says of this site's contribution; of round 0: there is none in it.
inline RecordedContribution OwnIn(const v1::PublishedManifest& manifest, const std::string& site) {
  const auto record = ParseRecord(manifest.record());
  const RecordedContribution* const own = record.ok() ? record->ContributionOf(site) : nullptr;
  return own == nullptr ? RecordedContribution() : *own;
}

/// Of run "r".
inline v1::UploadManifest ManifestOf(const at::Tensor& values, int64_t round = 1, int64_t attempt = 1) {
  v1::UploadManifest manifest;
  manifest.set_run("r");
  manifest.set_round(round);
  manifest.set_attempt(attempt);
  manifest.set_values(values.numel());
  for (const Sha256Digest& digest : ChunksOf(values).digests) manifest.add_chunks(std::string(digest.begin(), digest.end()));
  return manifest;
}

inline v1::Chunk ChunkOfManifest(const v1::UploadManifest& manifest, const at::Tensor& values, int index) {
  v1::Chunk chunk;
  chunk.set_run("r");
  chunk.set_round(manifest.round());
  chunk.set_sha256(manifest.chunks(index));
  chunk.set_content(std::string(ChunkOf(values, index)));
  return chunk;
}

}  // namespace fedalt::testing
