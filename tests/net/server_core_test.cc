// What the server's state machine refuses. The rows of the fault table are in fault_table_test.cc, on its database and its port;
// faults of network, clock and disk in any order are the simulation's.
#include "net/server_core.h"

#include <gtest/gtest.h>

#include <limits>

#include "fed/upload_format.h"
#include "net/server_core_fixture.h"

namespace fedalt::testing {
namespace {

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument, kPrecondition = absl::StatusCode::kFailedPrecondition;

TEST_F(ServerCoreTest, EnrolmentThatDoesNotFit) {
  v1::EnrolRequest request = Enrolment();
  request.set_agreement("model a\nrounds: 3\n");
  ExpectRefused(core_->Enrol(0, request).status(), kPrecondition, "the server has \"rounds: 2\", the site has \"rounds: 3\"");
  request = Enrolment();
  request.set_oldest_protocol(7);
  request.set_newest_protocol(9);
  ExpectRefused(core_->Enrol(0, request).status(), kPrecondition, "protocols 7 to 9");
  request = Enrolment();
  request.set_train_examples(0);
  ExpectRefused(core_->Enrol(0, request).status(), kInvalid, "0 training examples");
  EXPECT_TRUE(journal_.position().enrolled.empty());
  ASSERT_TRUE(core_->Enrol(0, Enrolment()).ok());
  request = Enrolment();
  request.set_train_examples(6);
  ExpectRefused(core_->Enrol(0, request).status(), kPrecondition, "enrolled with 5 training examples and now has 6");
}

TEST_F(ServerCoreTest, ASiteReadsWhatWasPublishedAndNothingElse) {
  EnrolBoth();
  ASSERT_TRUE(Upload(0, a_).ok());
  ASSERT_TRUE(Upload(1, b_).ok());
  const auto closing = core_->Tick();
  ASSERT_TRUE(closing.ok() && closing->has_value());
  EXPECT_EQ(Upload(1, b_).code(), absl::StatusCode::kUnavailable) << "while the round is being closed: not yet, and no refusal";
  const auto method = MakeMethod({});
  const auto published =
      Aggregate(**closing, {method->get(), {{}, 1, UploadFormat::kFloat32}, a_.numel(), {"osaka", "lyon"}}, journal_);
  ASSERT_TRUE(core_->Finish(**closing, published).ok());
  EXPECT_EQ(core_->state().closed_round(), 1);
  EXPECT_EQ(core_->state().round(), 2);

  v1::ManifestRequest wanted;
  wanted.set_run("r");
  wanted.set_round(1);
  const auto manifest = core_->GetManifest(0, wanted);
  ASSERT_TRUE(manifest.ok());
  EXPECT_EQ(testing::OwnIn(*manifest, "osaka").round, 1);
  EXPECT_EQ(ParseRecord(manifest->record())->total_weight, 2.0);
  v1::ChunkRequest piece;
  piece.set_run("r");
  piece.set_round(1);
  piece.set_sha256(manifest->chunks(0));
  const auto chunk = core_->GetChunk(0, piece);
  ASSERT_TRUE(chunk.ok());
  EXPECT_EQ(chunk->content(), std::string(ChunkOf(a_ + b_, 0)));
  // The other site's upload is there under its hash, but not for this one.
  piece.set_sha256(ManifestOf(b_).chunks(0));
  EXPECT_EQ(core_->GetChunk(0, piece).status().code(), absl::StatusCode::kNotFound);
  piece.set_sha256("x");
  EXPECT_EQ(core_->GetChunk(0, piece).status().code(), kInvalid);
  wanted.set_round(2);
  EXPECT_EQ(core_->GetManifest(0, wanted).status().code(), absl::StatusCode::kNotFound);
  // An old round's upload is told what is open.
  ExpectRefused(Upload(0, a_), kPrecondition, "open is round 2");
}

TEST_F(ServerCoreTest, ThePauseThatTheDiskDidNotTakeComesLaterAndNotAnotherAttempt) {
  EnrolBoth();
  for (int attempt = 1; attempt <= 2; ++attempt) {
    clock_.now_ms += 60'000;
    ASSERT_TRUE(core_->Tick().ok());
    ASSERT_TRUE(core_->Tick().ok());
  }
  clock_.now_ms += 60'000;
  ASSERT_TRUE(core_->Tick().ok());
  EXPECT_EQ(journal_.abandoned.size(), 3u);
  journal_.disk = [] { return MemoryJournal::Disk::kFailsBefore; };
  EXPECT_FALSE(core_->Tick().ok());
  EXPECT_FALSE(journal_.position().paused.has_value());
  journal_.disk = [] { return MemoryJournal::Disk::kGood; };
  ASSERT_TRUE(core_->Tick().ok());
  ASSERT_TRUE(journal_.position().paused.has_value());
  EXPECT_NE(journal_.position().paused->find("round 1 was abandoned 3 times"), std::string::npos) << *journal_.position().paused;
  EXPECT_EQ(journal_.position().opened_ms, 0);
}

TEST_F(ServerCoreTest, WhatIsQuotedIsCutBetweenTwoLetters) {
  v1::EnrolRequest request = Enrolment();
  for (const size_t before : {192, 193, 194}) {  // the letter of two bytes lies before, across and behind the cut
    request.set_agreement("model " + std::string(before, 'x') + "\xc3\xa4\n");
    ExpectRefused(core_->Enrol(0, request).status(), kPrecondition, "the configurations differ");
  }
  EnrolBoth();
  v1::UploadManifest manifest = ManifestOf(a_);
  manifest.set_run(std::string(79, 'x') + "\xe5\xa4\xa7\xe9\x98\xaa");
  ExpectRefused(core_->BeginUpload(0, manifest).status(), kPrecondition,
                "this server runs r, not \"" + std::string(79, 'x') + "\"");
}

/// Both have contributed, and the round is closed.
#define CLOSE_ROUND(round)                                              \
  do {                                                                  \
    ASSERT_TRUE(Upload(0, a_, round).ok());                             \
    ASSERT_TRUE(Upload(1, b_, round).ok());                             \
    const auto closing = core_->Tick();                                 \
    ASSERT_TRUE(closing.ok() && closing->has_value());                  \
    ASSERT_TRUE(core_->Finish(**closing, AggregateOf(**closing)).ok()); \
  } while (false)

TEST_F(ServerCoreTest, ASiteWithoutItsStateComesAnewOnce) {
  EnrolBoth();
  CLOSE_ROUND(1);
  ASSERT_TRUE(Upload(0, b_, 2).ok());
  v1::EnrolRequest anew = Enrolment();
  anew.set_anew(true);
  anew.set_train_examples(9);  // it may have other data now
  const auto asked = core_->Enrol(0, anew);
  ASSERT_TRUE(asked.ok() && !asked->challenge().empty()) << asked.status();
  EXPECT_TRUE(journal_.position().received.contains(0)) << "a copy of an old message undoes nothing";
  anew.set_challenge(asked->challenge());
  const auto reply = core_->Enrol(0, anew);
  ASSERT_TRUE(reply.ok() && reply->challenge().empty()) << reply.status();
  EXPECT_EQ(reply->join_after(), 1);
  EXPECT_FALSE(journal_.position().received.contains(0)) << "nobody knows any more what it sent";
  EXPECT_FALSE(journal_.position().ledger.contains(0));
  EXPECT_EQ(journal_.position().enrolled.at(0), 9);
  ASSERT_TRUE(Upload(0, a_, 2).ok());
  ASSERT_TRUE(core_->Enrol(0, anew).ok()) << "the message once more, late";
  EXPECT_TRUE(journal_.position().received.contains(0));
  EXPECT_EQ(journal_.departed.size(), 1u);
}

TEST_F(ServerCoreTest, ASiteThatLeavesCountsNoLonger) {
  EnrolBoth();
  CLOSE_ROUND(1);
  v1::LeaveRequest leave;
  leave.set_run("r");
  leave.set_cause("the contract has ended");
  leave.set_enrolment("one before");
  ASSERT_TRUE(core_->Leave(1, leave).ok()) << "a late copy means nothing";
  ASSERT_TRUE(journal_.departed.empty());
  leave.set_enrolment(journal_.position().enrolments.at(1));
  ASSERT_TRUE(core_->Leave(1, leave).ok());
  ASSERT_TRUE(core_->Leave(1, leave).ok()) << "once more";
  EXPECT_EQ(journal_.departed, (std::vector<std::pair<int64_t, std::string>>{{1, "the site leaves: the contract has ended"}}));
  ExpectRefused(Upload(1, b_, 2), kPrecondition, "has left the run");
  EXPECT_EQ(core_->state().waiting_for(), "the contributions of osaka");
  v1::EnrolRequest back = Enrolment();
  const auto asked = core_->Enrol(1, back);
  ASSERT_TRUE(asked.ok() && !asked->challenge().empty()) << "a late copy of how it came brings it not back";
  EXPECT_FALSE(journal_.position().enrolled.contains(1));
  back.set_challenge(asked->challenge());
  ASSERT_TRUE(core_->Enrol(1, back).ok()) << "it may come back";
  EXPECT_TRUE(Upload(1, b_, 2).ok());
}

TEST_F(ServerCoreTest, NobodyWaitsForASiteWhoseKeysAreRevoked) {
  EnrolBoth();
  ASSERT_TRUE(Upload(0, a_).ok());
  ASSERT_TRUE(Upload(1, b_).ok());
  const auto first = core_->Tick();
  ASSERT_TRUE(first.ok() && first->has_value());
  ASSERT_TRUE(core_->Finish(**first, AggregateOf(**first)).ok());
  revoked_ = {0};
  minimum_cohort_ = 1;
  Start();
  EXPECT_EQ(core_->state().waiting_for(), "the contributions of lyon");
  ASSERT_TRUE(Upload(1, b_, 2).ok());
  const auto second = core_->Tick();
  ASSERT_TRUE(second.ok() && second->has_value()) << "at once, long before the deadline";
  ASSERT_EQ((*second)->absent.size(), 1u) << "what it sent before stays";
  EXPECT_EQ((*second)->absent[0].site, 0);
}

TEST_F(ServerCoreTest, ARunBeginsWithoutASiteWhoseKeysAreRevoked) {
  revoked_ = {1};
  minimum_cohort_ = 1;
  Start();
  EXPECT_EQ(core_->state().waiting_for(), "the enrolment of osaka");
  ASSERT_TRUE(core_->Enrol(0, Enrolment()).ok());
  ASSERT_TRUE(core_->Tick().ok());
  EXPECT_EQ(core_->state().phase(), v1::PHASE_COLLECTING);
}

TEST_F(ServerCoreTest, WordsOfASiteAreCutBetweenLetters) {
  EnrolBoth();
  v1::LeaveRequest leave;
  leave.set_run("r");
  leave.set_enrolment(journal_.position().enrolments.at(1));
  std::string letters;
  for (int i = 0; i < 300; ++i) letters += "\xc3\xa4";
  leave.set_cause("x" + letters);
  ASSERT_TRUE(core_->Leave(1, leave).ok());
  EXPECT_EQ(journal_.departed.front().second, "the site leaves: x" + letters.substr(0, 198));
}

TEST_F(ServerCoreTest, NotAllOfManyAreNamed) {
  ServerOptions options;
  options.run = "r";
  options.agreement = "all agree\n";
  for (int k = 0; k < 2000; ++k) options.sites.push_back(absl::StrCat("site-", k));
  options.exchange_rounds = {1};
  options.values = kValues;
  MemoryJournal journal;
  ServerCore core(options, journal, clock_);
  ASSERT_TRUE(core.Recover().ok());
  EXPECT_EQ(core.state().waiting_for(),
            "the enrolment of site-0, site-1, site-2, site-3, site-4, site-5, site-6, site-7, site-8, site-9, 1990 others");
}

TEST_F(ServerCoreTest, OperatorsPauseResumeEraseAndStop) {
  EnrolBoth();
  using Kind = OperatorRequest::Kind;
  const auto ask = [&](int64_t id, Kind kind, const std::string& site = "") {
    journal_.requests.push_back({id, kind, site, "why not"});
    ASSERT_TRUE(core_->Tick().ok());
  };
  ask(1, Kind::kPause);
  EXPECT_EQ(core_->state().waiting_for(), "an operator, who paused the run: why not");
  Start();  // a pause outlives the server
  clock_.now_ms += 10 * 60'000;
  ASSERT_TRUE(core_->Tick().ok());
  EXPECT_EQ(core_->state().attempt(), 1) << "time does not pass";
  EXPECT_TRUE(Upload(0, a_).ok()) << "what comes is kept";
  ASSERT_TRUE(Upload(1, b_).ok());
  EXPECT_FALSE(core_->Tick()->has_value());
  ask(2, Kind::kErase, "lyon");
  EXPECT_FALSE(journal_.position().received.contains(1));
  ask(3, Kind::kErase, "madrid");
  EXPECT_EQ(journal_.outcomes.at(3), "there is no such site");
  ask(4, Kind::kResume);
  EXPECT_EQ(core_->state().attempt(), 1);
  clock_.now_ms += 59'000;
  ASSERT_TRUE(core_->Tick().ok());
  EXPECT_EQ(core_->state().attempt(), 1) << "the attempt has its whole time again";
  ask(5, Kind::kStop);
  EXPECT_EQ(core_->state().phase(), v1::PHASE_ENDED);
  EXPECT_EQ(core_->state().cause(), "stopped by an operator: why not");
  ask(6, Kind::kPause);
  EXPECT_EQ(journal_.outcomes,
            (std::map<int64_t, std::string>{
                {1, "done"}, {2, "done"}, {3, "there is no such site"}, {4, "done"}, {5, "done"}, {6, "the run has ended"}}));
}

TEST_F(ServerCoreTest, AnOlderServerStopsWhenItHearsOfANewerOne) {
  EnrolBoth();
  const v1::RunState newest = core_->state();
  EXPECT_EQ(newest.start(), 1);
  v1::PollRequest poll;
  poll.set_run("r");
  poll.set_known_start(7);
  poll.set_known_instance("process 6");
  poll.set_known_signature("anybody could say so");
  EXPECT_TRUE(core_->State(0, poll).ok()) << "without the server's signature it is nothing";
  EXPECT_TRUE(core_->Tick().ok());
  poll.set_known_signature(testing::ToySignatures(Signatures::kServer).sign(StartMessage("r", 7, "process 6")));
  EXPECT_EQ(core_->State(0, poll).status().code(), kPrecondition);
  const auto tick = core_->Tick();
  EXPECT_EQ(KindOf(tick.status()), ErrorKind::kFederation);
  EXPECT_NE(std::string(tick.status().message()).find("another server works on this run (start 7, this is start 1)"),
            std::string::npos);
}

TEST_F(ServerCoreTest, RecordsNameWhatCountsAndAreCountersigned) {
  EnrolBoth();
  CLOSE_ROUND(1);
  v1::ManifestRequest wanted;
  wanted.set_run("r");
  wanted.set_round(1);
  const auto manifest = core_->GetManifest(0, wanted);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_TRUE(testing::ToySignatures(0).verifies(Signatures::kServer, manifest->record(), manifest->signature()));
  const auto record = ParseRecord(manifest->record());
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->round, 1);
  EXPECT_EQ(record->previous_round, 0);
  ASSERT_EQ(record->contributors.size(), 2u);
  EXPECT_EQ(record->contributors[1], (RecordedContribution{"osaka", 1, 1.0, ContentHash(ChunksOf(a_))}));
  ASSERT_EQ(record->contents.size(), 1u);
  EXPECT_EQ(record->contents[0].content, ContentHash(journal_.published.at(1).chunks));
  EXPECT_EQ(manifest->adoptions_size(), 0);
  v1::Countersignature signature;
  signature.set_run("r");
  signature.set_round(1);
  const std::string message = AdoptionMessage(RecordDigest(manifest->record()));
  signature.set_signature(testing::ToySignatures(1).sign(message));
  ExpectRefused(core_->Countersign(0, signature).status(), kInvalid, "countersignature of round 1 is not valid");
  EXPECT_TRUE(core_->Countersign(1, signature).ok());
  signature.set_signature("");
  signature.set_refused("pinned to round 0");
  EXPECT_TRUE(core_->Countersign(0, signature).ok());
  EXPECT_EQ(journal_.adopted.at(1).size(), 1u);
  EXPECT_EQ(journal_.refused.at({0, 1}), "pinned to round 0");
  signature.set_round(2);
  EXPECT_EQ(core_->Countersign(1, signature).status().code(), absl::StatusCode::kNotFound);
  CLOSE_ROUND(2);
  wanted.set_round(2);
  const auto next = core_->GetManifest(0, wanted);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(ParseRecord(next->record())->previous, RecordDigest(manifest->record()));
  ASSERT_EQ(next->adoptions_size(), 1);
  EXPECT_EQ(next->adoptions(0).site(), "lyon");
  EXPECT_EQ(next->adoptions(0).signature(), testing::ToySignatures(1).sign(message));
}

TEST_F(ServerCoreTest, ReportsAreNumbersOfRoundsThatWere) {
  EnrolBoth();
  CLOSE_ROUND(1);
  v1::Metrics report;
  report.set_run("r");
  report.set_round(1);
  (*report.mutable_values())["loss"] = 1.5;
  EXPECT_TRUE(core_->Report(0, report).ok());
  EXPECT_EQ(journal_.metrics.at({0, 1}), (std::map<std::string, double>{{"loss", 1.5}}));
  report.set_round(2);
  ExpectRefused(core_->Report(0, report).status(), kInvalid, "round up to 1");
  report.set_round(1);
  (*report.mutable_values())["A NAME"] = 1.5;
  ExpectRefused(core_->Report(0, report).status(), kInvalid, "without a proper name");
  report.clear_values();
  (*report.mutable_values())["loss"] = std::numeric_limits<double>::infinity();
  ExpectRefused(core_->Report(0, report).status(), kInvalid, "not finite");
}

TEST_F(ServerCoreTest, ASiteThatIsRefusedWithoutEndDoesNotFillTheLog) {
  EnrolBoth();
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(core_->BeginUpload(0, ManifestOf(a_, 2)).ok());
  EXPECT_EQ(journal_.refusals.size(), 100u);
  EXPECT_FALSE(core_->BeginUpload(1, ManifestOf(a_, 2)).ok());
  EXPECT_EQ(journal_.refusals.size(), 101u) << "another site's are still recorded";
}

TEST_F(ServerCoreTest, EightBitUploadsAreDecodedOnlyWhenTheyAreSummed) {
  upload_ = UploadFormat::kInt8;
  Start();
  EnrolBoth();
  a_ = Encoded(AsTransmitted(a_ / 1000.0, upload_), upload_);
  b_ = Encoded(AsTransmitted(b_ / 1000.0, upload_), upload_);
  ASSERT_TRUE(Upload(0, a_).ok());
  ASSERT_TRUE(Upload(1, b_).ok());
  const auto closing = core_->Tick();
  ASSERT_TRUE(closing.ok() && closing->has_value());
  const auto published = AggregateOf(**closing);
  ASSERT_TRUE(published.ok()) << published.status();
  const auto sum = FromChunks(published->chunks, [&](const Sha256Digest& digest) { return journal_.GetChunk(digest); });
  EXPECT_TRUE(sum->equal(Decoded(a_, upload_, kValues) + Decoded(b_, upload_, kValues)));
  EXPECT_NEAR(published->moved.at(0), Decoded(a_, upload_, kValues).to(at::kDouble).norm().item<double>(), 1e-6);
  // A scale that is no number is found when its chunk comes.
  at::Tensor bad = b_.clone();
  bad[1] = std::numeric_limits<float>::quiet_NaN();
  ASSERT_TRUE(core_->Finish(**closing, published).ok());
  EXPECT_EQ(Upload(0, bad, 2).code(), absl::StatusCode::kOutOfRange);
}

TEST_F(ServerCoreTest, EachVersionTellsHowFarEachSiteMovedIt) {
  EnrolBoth();
  CLOSE_ROUND(1);
  const PublishedObject& first = journal_.published.at(1);
  EXPECT_EQ(first.weights, (std::map<int64_t, double>{{0, 1.0}, {1, 1.0}}));
  EXPECT_NEAR(first.moved.at(0), a_.to(at::kDouble).norm().item<double>(), 1e-6);
  std::swap(a_, b_);  // both send the other's
  CLOSE_ROUND(2);
  const double distance = (a_ - b_).to(at::kDouble).norm().item<double>();
  EXPECT_NEAR(journal_.published.at(2).moved.at(0), distance, 1e-6);
  EXPECT_NEAR(journal_.published.at(2).moved.at(1), distance, 1e-6);
}

}  // namespace
}  // namespace fedalt::testing
