// Event files against those of TensorBoard's own writer, and what a crash may leave of them.
#include "run/tensorboard.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

#include "base/file.h"
#include "base/hash.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

std::string Slurp(const fs::path& path) {
  const auto text = ReadFile(path, ErrorKind::kOutput);
  EXPECT_TRUE(text.ok()) << text.status();
  return text.ok() ? *text : "";
}

std::vector<OrderedJson> GoldenLines() {
  std::vector<OrderedJson> lines;
  std::ifstream file(FEDALT_TEST_DATA "/tensorboard/metrics.jsonl");
  for (std::string line; std::getline(file, line);) lines.push_back(OrderedJson::parse(line));
  return lines;
}

// --- A reader of its own: what it does not know fails ---

uint64_t TakeNumber(std::string_view& bytes, size_t count) {
  uint64_t value = 0;
  for (size_t i = 0; i < count; ++i) value |= uint64_t{static_cast<uint8_t>(bytes.at(i))} << (8 * i);
  bytes.remove_prefix(count);
  return value;
}

uint64_t TakeVarint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const uint64_t byte = TakeNumber(bytes, 1);
    value |= (byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
}

uint32_t Unmasked(uint64_t masked) {
  return std::rotl(static_cast<uint32_t>(masked) - 0xA282EAD8u, 15);
}

std::vector<std::string_view> Records(std::string_view file) {
  std::vector<std::string_view> records;
  while (!file.empty()) {
    const std::string_view length_bytes = file.substr(0, 8);
    const uint64_t length = TakeNumber(file, 8);
    EXPECT_EQ(Unmasked(TakeNumber(file, 4)), Crc32c(length_bytes));
    records.push_back(file.substr(0, length));
    file.remove_prefix(length);
    EXPECT_EQ(Unmasked(TakeNumber(file, 4)), Crc32c(records.back()));
  }
  return records;
}

/// Field number -> its values: the number of a varint or fixed field, or the bytes.
struct Field {
  uint64_t number = 0;
  std::string_view bytes;
};
std::multimap<uint64_t, Field> Fields(std::string_view message) {
  std::multimap<uint64_t, Field> fields;
  while (!message.empty()) {
    const uint64_t key = TakeVarint(message);
    Field field;
    if (key % 8 == 0) field.number = TakeVarint(message);
    if (key % 8 == 1) field.number = TakeNumber(message, 8);
    if (key % 8 == 5) field.number = TakeNumber(message, 4);
    if (key % 8 == 2) {
      const uint64_t length = TakeVarint(message);
      field.bytes = message.substr(0, length);
      message.remove_prefix(length);
    }
    fields.emplace(key / 8, field);
  }
  return fields;
}

struct Event {
  double wall_time = 0.0;
  int64_t step = 0;
  std::string file_version;
  std::map<std::string, float> scalars;
  bool operator==(const Event&) const = default;
};

std::vector<Event> Events(std::string_view file) {
  std::vector<Event> events;
  for (const std::string_view record : Records(file)) {
    Event& event = events.emplace_back();
    for (const auto& [number, field] : Fields(record)) {
      if (number == 1) event.wall_time = std::bit_cast<double>(field.number);
      if (number == 2) event.step = static_cast<int64_t>(field.number);
      if (number == 3) event.file_version = field.bytes;
      if (number != 5) continue;
      for (const auto& [value_number, value] : Fields(field.bytes)) {
        EXPECT_EQ(value_number, 1u);
        const auto parts = Fields(value.bytes);
        const auto simple_value = parts.find(2)->second.number;
        EXPECT_TRUE(
            event.scalars.emplace(parts.find(1)->second.bytes, std::bit_cast<float>(static_cast<uint32_t>(simple_value))).second);
      }
    }
  }
  return events;
}

class TensorBoardTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(::testing::TempDir()) / absl::StrCat("fedalt_tensorboard_", ::getpid());
    fs::remove_all(root_);
    auto made = RunDirectory::Create(root_);
    ASSERT_TRUE(made.ok()) << made.status();
    directory_.emplace(std::move(*made));
  }
  void TearDown() override { fs::remove_all(root_); }

  /// A round as the journal records it.
  void Record(const std::vector<OrderedJson>& lines) {
    std::string text;
    for (const OrderedJson& line : lines) text += line.dump() + "\n";
    ASSERT_TRUE(AppendToFile(directory_->metrics(), text).ok());
    const Status status = AppendEvents(*directory_, lines);
    ASSERT_TRUE(status.ok()) << status;
  }

  /// The golden lines, three (two sites and the mean) to a round.
  void RecordGolden() {
    const std::vector<OrderedJson> lines = GoldenLines();
    ASSERT_EQ(lines.size() % 3, 0u);
    for (size_t i = 0; i < lines.size(); i += 3) Record({lines[i], lines[i + 1], lines[i + 2]});
  }

  std::map<std::string, std::string> Files() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(directory_->tensorboard()))
      if (entry.is_regular_file()) files[fs::relative(entry.path(), root_).string()] = Slurp(entry.path());
    return files;
  }

  fs::path root_;
  std::optional<RunDirectory> directory_;
};

TEST_F(TensorBoardTest, SameBytesAsTensorBoardsOwnWriter) {
  RecordGolden();
  ASSERT_EQ(Files().size(), 3u);
  for (const char* site : {"site-0", "osaka", "mean"}) {
    const std::string ours = Slurp(directory_->events(site));
    const std::string theirs = Slurp(absl::StrCat(FEDALT_TEST_DATA "/tensorboard/", site, ".tfevents"));
    const std::vector<std::string_view> our_records = Records(ours), their_records = Records(theirs);
    ASSERT_EQ(our_records.size(), their_records.size());
    ASSERT_GE(our_records.size(), 6u);
    for (size_t i = 1; i < our_records.size(); ++i) EXPECT_EQ(our_records[i], their_records[i]) << site << ", event " << i;
    // The first one names its writer, so it is compared by what it says.
    EXPECT_EQ(Events(ours).front(), Events(theirs).front());
    EXPECT_EQ(Events(ours).front().file_version, "brain.Event:2");
  }
}

TEST_F(TensorBoardTest, WhatIsReadIsWhatWasMeasured) {
  RecordGolden();
  const std::vector<OrderedJson> lines = GoldenLines();
  const std::vector<Event> events = Events(Slurp(directory_->events("site-0")));
  ASSERT_EQ(events.size(), 7u);  // the header and six rounds; of the seventh nothing was measured
  for (size_t i = 1; i < events.size(); ++i) {
    const OrderedJson& line = lines[3 * (i - 1)];
    EXPECT_EQ(events[i].step, line["round"].get<int64_t>());
    EXPECT_EQ(events[i].wall_time, line["round"].get<double>());
    EXPECT_EQ(events[i].scalars.at("train/loss"), line["train_loss"].get<float>());
    EXPECT_EQ(events[i].scalars.contains("test/loss"), !line["loss"].is_null());
    EXPECT_FALSE(events[i].scalars.contains("gain_from_others/rouge1"));
  }
  EXPECT_EQ(events[1].scalars.at("gain_from_others/loss"), lines[0]["gain_from_others"]["loss"].get<float>());
  EXPECT_EQ(events[1].scalars.at("bytes/down"), 8589934592.0f);
}

TEST_F(TensorBoardTest, ARoundWithoutEvaluationHasNoPointOfIts) {
  SiteRoundResult result;
  result.round = 3;
  result.site = "osaka";
  result.train.steps = 1;
  result.train.mean_loss = 0.5;
  const std::vector<Event> events = Events(EventRecord(SiteToJson(result)));
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].scalars, (std::map<std::string, float>{{"train/loss", 0.5f}, {"bytes/up", 0.0f}, {"bytes/down", 0.0f}}));
}

TEST_F(TensorBoardTest, WhateverACrashLeavesIsPutRight) {
  RecordGolden();
  const auto expected = Files();
  const fs::path path = directory_->events("osaka");
  const auto inode = [&path] {
    struct stat info {};
    EXPECT_EQ(::stat(path.c_str(), &info), 0);
    return info.st_ino;
  };
  const auto restored = [&] {
    const Status status = RestoreEvents(*directory_);
    EXPECT_TRUE(status.ok()) << status;
    return Files() == expected;
  };
  const auto before = inode();
  ASSERT_TRUE(AppendEvents(*directory_, {GoldenLines()[1], GoldenLines()[2]}).ok());  // a round that was never closed
  ASSERT_FALSE(Files() == expected);
  EXPECT_TRUE(restored());
  std::ofstream(path, std::ios::app) << "torn";
  EXPECT_TRUE(restored());
  EXPECT_EQ(inode(), before);  // cut in place
  fs::resize_file(path, fs::file_size(path) - 3);
  EXPECT_TRUE(restored());
  fs::resize_file(path, 0);
  EXPECT_TRUE(restored());
  fs::remove_all(directory_->tensorboard());
  EXPECT_TRUE(restored());
  std::string changed = Slurp(path);
  changed[changed.size() / 2] ^= 1;
  std::ofstream(path, std::ios::binary) << changed;
  EXPECT_TRUE(restored());
  EXPECT_TRUE(restored());  // nothing to do
}

TEST_F(TensorBoardTest, AFirstRoundThatWasNeverClosedLeavesNoEvents) {
  ASSERT_TRUE(RestoreEvents(*directory_).ok());  // of a run without anything yet
  ASSERT_TRUE(AppendEvents(*directory_, {GoldenLines()[0], GoldenLines()[2]}).ok());
  ASSERT_EQ(Files().size(), 2u);
  ASSERT_TRUE(RestoreEvents(*directory_).ok());
  EXPECT_TRUE(Files().empty());
}

TEST_F(TensorBoardTest, OfManySitesOnlyTheMeanHasAFile) {
  for (const size_t sites : {kMaxSitesWithEvents, kMaxSitesWithEvents + 1}) {
    SetUp();
    std::vector<OrderedJson> lines;
    for (size_t k = 0; k < sites; ++k) lines.push_back({{"round", 1}, {"site", absl::StrCat("site-", k)}, {"train_loss", 0.5}});
    lines.push_back(MeanOf(lines));
    Record(lines);
    const auto files = Files();
    EXPECT_EQ(files.size(), sites <= kMaxSitesWithEvents ? sites + 1 : 1);
    EXPECT_TRUE(fs::exists(directory_->events("mean")));
    fs::remove_all(directory_->tensorboard());
    ASSERT_TRUE(RestoreEvents(*directory_).ok());
    EXPECT_TRUE(Files() == files);
  }
}

TEST_F(TensorBoardTest, DamagedMetricsAreNamed) {
  RecordGolden();
  std::string text = Slurp(directory_->metrics());
  const size_t second = text.find('\n') + 1;
  text[second] = '[';
  std::ofstream(directory_->metrics(), std::ios::binary) << text;
  const Status status = RestoreEvents(*directory_);
  EXPECT_EQ(KindOf(status), ErrorKind::kOutput);
  EXPECT_NE(status.message().find("metrics.jsonl, line 2"), absl::string_view::npos) << status;
}

}  // namespace
}  // namespace fedalt
