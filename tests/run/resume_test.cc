// A run that dies at any point of its record and is resumed ends with the same bits as an undisturbed one.
#include <gtest/gtest.h>

#include <unistd.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "base/file.h"
#include "fed/far_server.h"
#include "fed/tiny_federation.h"
#include "run/file_journal.h"
#include "run/run_directory.h"
#include "run/tensorboard.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using testing::TinyOptions;

/// Dies (returns an error for ever) once `calls` changes were recorded. `after`: the fatal change itself still reaches the disk.
class DyingJournal : public RoundJournal {
 public:
  DyingJournal(FileJournal& journal, int64_t calls, bool after) : journal_(journal), left_(calls), after_(after) {}
  StatusOr<JournalPosition> Recover() override { return journal_.Recover(); }
  Status LoadSite(int64_t round, Site& site) override { return journal_.LoadSite(round, site); }
  StatusOr<LedgerEntry> LoadSent(int64_t round, const std::string& site) override { return journal_.LoadSent(round, site); }
  StatusOr<std::optional<Published>> LoadPublished(int64_t round, const std::string& site) override {
    return journal_.LoadPublished(round, site);
  }
  Status SaveSite(int64_t round, const Site& site, const TrainReport* report) override {
    return Change([&] { return journal_.SaveSite(round, site, report); });
  }
  Status SavePublished(const Published& published, const std::optional<std::string>& site) override {
    return Change([&] { return journal_.SavePublished(published, site); });
  }
  Status CloseRound(const RoundResult& result, bool is_best) override {
    return Change([&] { return journal_.CloseRound(result, is_best); });
  }
  bool died() const { return left_ <= 0; }

 private:
  Status Change(const std::function<Status()>& change) {
    if (left_-- > 1) return change();
    if (left_ == 0 && after_) RETURN_IF_ERROR(change());
    return OutputError("the machine died");
  }
  FileJournal& journal_;
  int64_t left_;
  bool after_;
};

std::string Slurp(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Every checkpoint file of the run; metrics without what depends on the clock.
std::map<std::string, std::string> Fingerprint(const fs::path& root) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(root / "rounds"))
    if (entry.is_regular_file() && entry.path().extension() == ".safetensors")
      files[fs::relative(entry.path(), root).string()] = Slurp(entry.path());
  std::istringstream lines(Slurp(root / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    auto json = nlohmann::ordered_json::parse(line);
    json.erase("tokens_per_s");
    files["metrics.jsonl"] += json.dump() + "\n";
  }
  return files;
}

/// TensorBoard's files hold every round of metrics.jsonl once.
void ExpectEventsOfMetrics(const fs::path& root) {
  std::map<std::string, std::string> expected, found;
  std::istringstream lines(Slurp(root / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::ordered_json::parse(line);
    std::string& file = expected[json["site"].get<std::string>()];
    file += (file.empty() ? EventFileHeader() : "") + EventRecord(json);
  }
  for (const auto& entry : fs::recursive_directory_iterator(root / "tensorboard"))
    if (entry.is_regular_file()) found[entry.path().parent_path().filename().string()] = Slurp(entry.path());
  EXPECT_TRUE(found == expected) << root;
}

class ResumeTest : public testing::TinyFederationTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(TinyFederationTest::SetUp());
    // In memory where there is such a place: thousands of small files are synced here.
    const fs::path memory = "/dev/shm";
    root_ = (fs::is_directory(memory) ? memory : fs::path(::testing::TempDir())) / absl::StrCat("fedalt_resume_", ::getpid());
    fs::remove_all(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  /// Runs (or resumes) in `directory`, dying after `calls` recorded changes; whether it came to its end.
  bool Run(const fs::path& directory, const FederationOptions& options, int64_t calls, bool after) {
    const Status status = StatusOfRun(directory, options, calls, after);
    if (!status.ok()) {
      EXPECT_EQ(status.message(), "the machine died");
    }
    return status.ok();
  }

  Status StatusOfRun(const fs::path& directory, const FederationOptions& options, int64_t calls, bool after) {
    auto opened = fs::exists(directory) ? Reopen(directory) : RunDirectory::Create(directory);
    EXPECT_TRUE(opened.ok()) << opened.status();
    FileJournal journal(
        *opened, {.keep = {.last = 10}, .rest_of_world = HasRestOfWorld(options), .base_model = "tiny", .sites = sites_.get()});
    DyingJournal dying(journal, calls, after);
    const auto method = MakeMethod(options.method);
    EXPECT_TRUE(method.ok());
    LocalTransport transport((*method)->ledger_policy(), (*method)->needs());
    return RunFederation({model_.get(), nullptr, sites_.get(), nullptr}, options, transport, dying, {}).status();
  }

  static bool HasRestOfWorld(const FederationOptions& options) {
    const auto method = MakeMethod(options.method);
    return method.ok() && (*method)->has_rest_of_world();
  }

  static StatusOr<RunDirectory> Reopen(const fs::path& directory) {
    std::ofstream(directory / "config.yaml") << "\n";
    return RunDirectory::Open(directory);
  }

  fs::path root_;
};

class ResumeEverywhere : public ResumeTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(ResumeEverywhere, SameBitsAsUndisturbed) {
  FederationOptions options = TinyOptions(std::string(GetParam()).substr(0, std::string(GetParam()).find('+')));
  if (std::string(GetParam()).ends_with("+svd")) {
    options.method.rest_of_world.aggregate = RestOfWorldAggregate::kSvd;
    options.method.rest_of_world.damping = 0.5;
    options.method.mixer_held_out = true;
  }
  if (std::string(GetParam()).ends_with("+server")) options.method.server = {0.7, 0.5};
  if (std::string(GetParam()).ends_with("+absent")) {
    options.participation.count = 2;
    options.method.rest_of_world = {.every = 2, .weights = SiteWeights::kSamples, .damping = 0.5};
    options.rounds = 5;
    options.keep_optimizer = true;
  }
  options.eval.every = 1;
  const fs::path undisturbed = root_ / "undisturbed";
  fs::create_directories(root_);
  ASSERT_TRUE(Run(undisturbed, options, 1'000'000, false));
  const auto expected = Fingerprint(undisturbed);
  ASSERT_GT(expected.size(), 3u);
  bool finished_at_once = false;
  for (int64_t calls = 1; !finished_at_once; ++calls)
    for (const bool after : {false, true}) {
      const fs::path directory = root_ / absl::StrCat("dies-", calls, after ? "-after" : "-before");
      finished_at_once = Run(directory, options, calls, after);
      if (!finished_at_once) {
        // A torn journal line and metrics beyond the journal are what a kill in the middle of a write leaves.
        std::ofstream(directory / "journal.jsonl", std::ios::app) << "{\"event\":\"rou";
        if (fs::exists(directory / "metrics.jsonl")) std::ofstream(directory / "metrics.jsonl", std::ios::app) << "{\"round\": 9";
        if (fs::exists(directory / "tensorboard/mean"))
          std::ofstream(directory / "tensorboard/mean/events.out.tfevents.0.fedalt", std::ios::app) << "half a record";
        ASSERT_TRUE(Run(directory, options, 1'000'000, false));
      }
      ExpectEventsOfMetrics(directory);
      EXPECT_TRUE(Fingerprint(directory) == expected) << "died at change " << calls << (after ? ", recorded" : ", not recorded");
      fs::remove_all(directory);
    }
}

INSTANTIATE_TEST_SUITE_P(Methods, ResumeEverywhere,
                         ::testing::Values("fedalt", "fedalt+absent", "fedalt+svd", "fedit", "fedit+server", "fedit_ft", "pooled",
                                           "feddpa", "fdlora", "flora", "fedex", "rolora"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '+', '_');
                           return name;
                         });

/// The lines of metrics.jsonl that are about sites, by round.
std::map<int64_t, nlohmann::json> RoundsOf(const fs::path& root) {
  std::map<int64_t, nlohmann::json> rounds;
  std::istringstream lines(Slurp(root / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);)
    if (const auto json = nlohmann::json::parse(line); json["site"] != "mean") rounds[json["round"]] = json;
  return rounds;
}

TEST_F(ResumeTest, OnOneMachineNobodyAsksWhetherAContributionCounts) {
  fs::create_directories(root_);
  ASSERT_TRUE(Run(root_ / "run", TinyOptions("fedalt"), 1'000'000, false));
  const auto rounds = RoundsOf(root_ / "run");
  ASSERT_EQ(rounds.size(), 3u);
  for (const auto& [round, line] : rounds) EXPECT_FALSE(line.contains("counted") || line.contains("counted_round")) << line;
}

/// One site of a federation elsewhere that was too late for some rounds.
class LateSite : public ResumeTest, public ::testing::WithParamInterface<int64_t> {
 protected:
  Status RunLate(const fs::path& directory, testing::FarServerState& server, int64_t calls, bool after) {
    auto opened = fs::exists(directory) ? Reopen(directory) : RunDirectory::Create(directory);
    EXPECT_TRUE(opened.ok()) << opened.status();
    FederationOptions options = TinyOptions("fedalt");
    options.rounds = 4;
    const auto site = testing::TinySites(1, *model_);
    FileJournal journal(*opened, {.keep = {.last = 10}, .rest_of_world = true, .base_model = "tiny", .sites = site.get()});
    DyingJournal dying(journal, calls, after);
    return testing::RunFarSite(*model_, options, server, dying).status();
  }
};

TEST_P(LateSite, ResumesWhereverItDies) {
  const auto server_of = [] {
    testing::FarServerState server;
    server.late = {GetParam(), GetParam() + 1};
    return server;
  };
  fs::create_directories(root_);
  testing::FarServerState server = server_of();
  ASSERT_TRUE(RunLate(root_ / "undisturbed", server, 1'000'000, false).ok());
  ASSERT_EQ(server.counts.size(), 2u);
  const auto rounds = RoundsOf(root_ / "undisturbed");
  ASSERT_EQ(rounds.size(), 4u);
  int64_t last_counted = 0;
  for (const auto& [round, line] : rounds) {
    const bool late = server.late.contains(round);
    if (!late) last_counted = round;
    EXPECT_EQ(line["counted"], !late) << line;
    EXPECT_EQ(line["counted_round"], last_counted) << line;
  }
  const auto expected = Fingerprint(root_ / "undisturbed");
  bool finished = false;
  for (int64_t calls = 1; !finished; ++calls)
    for (const bool after : {false, true}) {
      SCOPED_TRACE(absl::StrCat("died at change ", calls, after ? ", recorded" : ", not recorded"));
      const fs::path directory = root_ / absl::StrCat("dies-", calls, after);
      testing::FarServerState its_server = server_of();
      finished = RunLate(directory, its_server, calls, after).ok();
      if (!finished) {
        const Status resumed = RunLate(directory, its_server, 1'000'000, false);
        ASSERT_TRUE(resumed.ok()) << resumed;
      }
      EXPECT_TRUE(Fingerprint(directory) == expected);
      fs::remove_all(directory);
    }
}

INSTANTIATE_TEST_SUITE_P(Rounds, LateSite, ::testing::Values(1, 2, 3));

TEST_F(ResumeTest, LossesThatAreNotFiniteCanBeResumedAndAreNeverTheBest) {
  const fs::path directory = root_ / "run";
  fs::create_directories(root_);
  auto opened = RunDirectory::Create(directory);
  ASSERT_TRUE(opened.ok());
  FileJournal journal(*opened, {.keep = {}, .rest_of_world = true, .base_model = "tiny", .sites = sites_.get()});
  RoundResult result;
  for (const double loss : {std::nan(""), 1.0}) {
    ++result.round;
    result.sites.assign(1, {});
    result.sites[0].site = "site-0";
    result.sites[0].before_swap.emplace();
    result.sites[0].before_swap->test.all.loss = loss;
    result.sites[0].before_swap->validation_loss = result.mean_validation_loss = loss;
    ASSERT_TRUE(journal.CloseRound(result, /*is_best=*/true).ok());
  }
  const std::string first = Slurp(directory / "journal.jsonl").substr(0, Slurp(directory / "journal.jsonl").find('\n') + 1);
  const auto position = journal.Recover();
  ASSERT_TRUE(position.ok()) << position.status();
  EXPECT_EQ(position->best_round, 2);
  EXPECT_NE(first.find("null"), std::string::npos) << "what an older version wrote: " << first;
}

/// Lines that no version wrote are refused in words, whatever their types.
TEST_F(ResumeTest, RefusesJournalLinesOfOtherTypes) {
  const fs::path directory = root_ / "run";
  fs::create_directories(root_);
  ASSERT_TRUE(RunDirectory::Create(directory).ok());
  auto opened = Reopen(directory);
  FileJournal journal(*opened, {.keep = {}, .rest_of_world = true, .base_model = "tiny", .sites = sites_.get()});
  for (const char* line : {"{}", "[]", "3", "{\"event\":3}", "{\"event\":\"site\",\"round\":1,\"site\":0}",
                           "{\"event\":\"round\",\"round\":2,\"joined\":\"yes\"}", "{\"event\":\"round\",\"round\":1.5}"}) {
    std::ofstream(directory / "journal.jsonl") << line << "\n";
    EXPECT_EQ(KindOf(journal.Recover().status()), ErrorKind::kOutput) << line;
  }
}

TEST_F(ResumeTest, RefusesAJournalThatWasChanged) {
  const fs::path directory = root_ / "run";
  fs::create_directories(root_);
  ASSERT_TRUE(Run(directory, TinyOptions("fedalt"), 1'000'000, false));
  auto opened = Reopen(directory);
  FileJournal journal(*opened, {.keep = {}, .rest_of_world = true, .base_model = "tiny", .sites = sites_.get()});
  const std::string text = Slurp(directory / "journal.jsonl");
  std::ofstream(directory / "journal.jsonl") << text.substr(text.find('\n') + 1) << "{\"event\":\"round\",\"round\":9}\n";
  const auto position = journal.Recover();
  ASSERT_FALSE(position.ok());
  EXPECT_NE(position.status().message().find("does not continue the run"), absl::string_view::npos) << position.status();
}

/// Whatever of the last closed round is missing or cut off: the run does not go on without it.
TEST_F(ResumeTest, RefusesACheckpointThatIsNotWhole) {
  const fs::path whole = root_ / "whole", damaged = root_ / "damaged";
  fs::create_directories(root_);
  FederationOptions options = TinyOptions("fedalt");
  options.keep_optimizer = true;
  options.participation.count = 2;
  ASSERT_FALSE(Run(whole, options, 6, false));
  ASSERT_TRUE(fs::exists(whole / "rounds/001/published.safetensors"));
  ASSERT_FALSE(fs::exists(whole / "rounds/003"));
  std::set<std::string> kinds;
  for (const auto& entry : fs::recursive_directory_iterator(whole / "rounds/001")) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() || name == "result.json") continue;
    for (const bool cut : {false, true}) {
      fs::remove_all(damaged);
      fs::copy(whole, damaged, fs::copy_options::recursive);
      const fs::path file = damaged / fs::relative(entry.path(), whole);
      if (cut)
        fs::resize_file(file, entry.file_size() / 2);
      else
        fs::remove(file);
      const Status status = StatusOfRun(damaged, options, 1'000'000, false);
      const std::string message(status.message());
      ASSERT_FALSE(status.ok()) << file << cut;
      EXPECT_TRUE(message.find("site-") != message.npos || message.find("published") != message.npos) << file << ": " << message;
      EXPECT_EQ(message.find('\n'), message.npos) << message;
    }
    kinds.insert(name);
  }
  EXPECT_EQ(kinds.size(), 7u);  // what was published; contents; adapters with their configuration, mixer, optimizer, sent
}

TEST_F(ResumeTest, KeepsTheLastRoundsAndTheBest) {
  fs::create_directories(root_);
  auto directory = RunDirectory::Create(root_ / "run");
  ASSERT_TRUE(directory.ok());
  FileJournal journal(*directory,
                      {.keep = {.last = 2, .best = true}, .rest_of_world = true, .base_model = "tiny", .sites = sites_.get()});
  FederationOptions options = TinyOptions("fedalt");
  options.rounds = 6;
  options.eval.every = 1;
  LocalTransport transport(LedgerPolicy::kKeepAbsent);
  const auto summary = RunFederation({model_.get(), nullptr, sites_.get(), nullptr}, options, transport, journal, {});
  ASSERT_TRUE(summary.ok()) << summary.status();
  std::set<int64_t> kept;
  for (const auto& entry : fs::directory_iterator(directory->rounds())) kept.insert(std::stoll(entry.path().filename().string()));
  EXPECT_EQ(kept, (std::set<int64_t>{5, 6, summary->best_round}));
}

TEST_F(ResumeTest, ADirectoryInUseOrNotEmptyIsRefused) {
  fs::create_directories(root_);
  auto first = RunDirectory::Create(root_ / "run");
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(first->Lock().ok());
  auto second = Reopen(root_ / "run");
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(KindOf(second->Lock()), ErrorKind::kUsage);
  EXPECT_EQ(KindOf(RunDirectory::Create(root_ / "run").status()), ErrorKind::kOutput);
  EXPECT_EQ(KindOf(RunDirectory::Open(root_ / "nothing").status()), ErrorKind::kUsage);
  std::ofstream(root_ / "file") << "x";
  EXPECT_EQ(KindOf(RunDirectory::Create(root_ / "file").status()), ErrorKind::kOutput);
}

}  // namespace
}  // namespace fedalt
