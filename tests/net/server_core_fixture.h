// A server's state machine on a journal in memory and a clock that stands still.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "fed/server_round.h"
#include "net/memory_journal.h"
#include "net/messages.h"
#include "net/server_core.h"

namespace fedalt::testing {

constexpr int64_t kValues = kChunkBytes / 4 + 3;  // two pieces

class ServerCoreTest : public ::testing::Test {
 protected:
  ServerCoreTest() { Start(); }
  void Start() {
    ServerOptions options;
    options.run = "r";
    options.agreement = "model a\nrounds: 2\n";
    options.sites = sites_;
    options.exchange_rounds = {1, 2};
    options.values = kValues;
    options.deadline_ms = 60'000;
    options.upload = upload_;
    options.instance = absl::StrCat("process ", journal_.starts);
    options.signatures = testing::ToySignatures(Signatures::kServer);
    options.minimum_cohort = minimum_cohort_;
    options.revoked = revoked_;
    options.weight = weight_;
    options.warn = [this](const std::string& what) { warnings_.push_back(what); };
    core_ = std::make_unique<ServerCore>(options, journal_, clock_);
    EXPECT_TRUE(core_->Recover().ok());
  }
  void EnrolBoth() {
    for (const int64_t site : {0, 1}) ASSERT_TRUE(core_->Enrol(site, Enrolment()).ok());
    ASSERT_TRUE(core_->Tick().ok());
    ASSERT_EQ(core_->state().phase(), v1::PHASE_COLLECTING);
  }
  static v1::EnrolRequest Enrolment() { return testing::EnrolmentIn("model a\nrounds: 2\n"); }
  Status Upload(int64_t site, const at::Tensor& values, int64_t round = 1, int64_t attempt = 1) {
    const v1::UploadManifest manifest = ManifestOf(values, round, attempt);
    const auto missing = core_->BeginUpload(site, manifest);
    if (!missing.ok()) return missing.status();
    for (const int64_t i : missing->chunks())
      if (const auto put = core_->PutChunk(site, ChunkOfManifest(manifest, values, static_cast<int>(i))); !put.ok())
        return put.status();
    return core_->CommitUpload(site, manifest).status();
  }
  StatusOr<PublishedObject> AggregateOf(const ClosingRound& closing) {
    const auto method = MakeMethod({});
    return Aggregate(closing, {method->get(), {{}, 1, upload_}, kValues, sites_, max_norm_}, journal_);
  }
  /// The refusal is of this code, says this, and is noted for the log.
  void ExpectRefused(const Status& status, absl::StatusCode code, const std::string& words) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_NE(std::string(status.message()).find(words), std::string::npos) << status;
    ASSERT_FALSE(journal_.refusals.empty());
    EXPECT_NE(journal_.refusals.back().find(words), std::string::npos) << journal_.refusals.back();
  }

  UploadFormat upload_ = UploadFormat::kFloat32;
  int64_t minimum_cohort_ = 2;
  std::set<int64_t> revoked_;
  std::function<double(int64_t)> weight_ = [](int64_t) { return 1.0; };
  std::vector<std::string> warnings_;
  double max_norm_ = 0.0;
  std::vector<std::string> sites_ = {"osaka", "lyon"};
  MemoryJournal journal_;
  testing::SettableClock clock_;
  std::unique_ptr<ServerCore> core_;
  at::Tensor a_ = at::arange(kValues, at::kFloat), b_ = a_ + 1.0;
};

/// All contributions are there: the round is closed.
#define CLOSE_NOW()                                                     \
  do {                                                                  \
    const auto closing = core_->Tick();                                 \
    ASSERT_TRUE(closing.ok() && closing->has_value());                  \
    ASSERT_TRUE(core_->Finish(**closing, AggregateOf(**closing)).ok()); \
  } while (false)

}  // namespace fedalt::testing
