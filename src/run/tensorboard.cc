#include "run/tensorboard.h"

#include <bit>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string_view>
#include <system_error>

#include "base/file.h"
#include "base/hash.h"
#include "base/strict_json.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

struct Scalar {
  const char* field;  ///< of a line of metrics.jsonl
  const char* tag;    ///< TensorBoard makes a section of what stands before the slash
};

constexpr Scalar kScalars[] = {{"train_loss", "train/loss"},
                               {"tokens_per_s", "train/tokens_per_s"},
                               {"loss", "test/loss"},
                               {"rouge1", "test/rouge1"},
                               {"rouge2", "test/rouge2"},
                               {"rougeL", "test/rougeL"},
                               {"exact_match", "test/exact_match"},
                               {"validation_loss", "validation/loss"},
                               {"gain_from_others.loss", "gain_from_others/loss"},
                               {"gain_from_others.rouge1", "gain_from_others/rouge1"},
                               {"gain_from_others.exact_match", "gain_from_others/exact_match"},
                               {"mean_individual_weight", "mixer/mean_individual_weight"},
                               {"bytes_up", "bytes/up"},
                               {"bytes_down", "bytes/down"}};

template <typename Unsigned>
void AppendLittleEndian(std::string& out, Unsigned value) {
  for (size_t byte = 0; byte < sizeof(value); ++byte) out += static_cast<char>(value >> (8 * byte) & 0xFF);
}

// Protobuf: a field is its key, (number << 3 | wire type) as a varint, and its value.

void AppendVarint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void AppendInteger(std::string& out, uint64_t number, uint64_t value) {
  AppendVarint(out, number << 3);
  AppendVarint(out, value);
}

void AppendDouble(std::string& out, uint64_t number, double value) {
  AppendVarint(out, number << 3 | 1);
  AppendLittleEndian(out, std::bit_cast<uint64_t>(value));
}

void AppendDelimited(std::string& out, uint64_t number, std::string_view value) {
  AppendVarint(out, number << 3 | 2);
  AppendVarint(out, value.size());
  out += value;
}

void AppendFloat(std::string& out, uint64_t number, float value) {
  AppendVarint(out, number << 3 | 5);
  AppendLittleEndian(out, std::bit_cast<uint32_t>(value));
}

uint32_t MaskedCrc32c(std::string_view bytes) {
  return std::rotr(Crc32c(bytes), 15) + 0xA282EAD8u;
}

std::string Record(std::string_view data) {
  std::string record;
  AppendLittleEndian(record, static_cast<uint64_t>(data.size()));
  AppendLittleEndian(record, MaskedCrc32c(record));
  record += data;
  AppendLittleEndian(record, MaskedCrc32c(data));
  return record;
}

/// Adds the events of a round to what each site's file contains so far.
void AddRound(const std::vector<OrderedJson>& lines, std::map<std::string, std::string>& files) {
  const size_t first = lines.size() - 1 <= kMaxSitesWithEvents ? 0 : lines.size() - 1;  // only the mean, which is the last
  for (size_t i = first; i < lines.size(); ++i)
    if (const std::string record = EventRecord(lines[i]); !record.empty()) files[lines[i]["site"].get<std::string>()] += record;
}

/// What each site's file has to contain, without its header, by metrics.jsonl.
StatusOr<std::map<std::string, std::string>> EventsOfMetrics(const fs::path& metrics) {
  constexpr std::string_view kMean = R"("site":"mean")";  // as dump() writes it; that line ends a round
  std::map<std::string, std::string> files;
  std::vector<std::string> round;
  std::ifstream stream(metrics, std::ios::binary);
  int64_t line_number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++line_number;
    round.push_back(line);
    if (line.find(kMean) == line.npos) continue;
    if (round.size() - 1 > kMaxSitesWithEvents) round.erase(round.begin(), round.end() - 1);  // thousands need not be parsed
    std::vector<OrderedJson> lines;
    for (size_t i = 0; i < round.size(); ++i) {
      const auto json = ParseJson(round[i], {.kind = ErrorKind::kOutput});
      if (!json.ok())
        return Annotate(json.status(),
                        absl::StrCat(metrics.string(), ", line ", line_number - static_cast<int64_t>(round.size() - i) + 1));
      lines.emplace_back(*json);
    }
    AddRound(lines, files);
    round.clear();
  }
  return files;
}

Status MakeContent(const fs::path& path, const std::string& content) {
  std::error_code error;
  if (fs::exists(path, error)) {
    ASSIGN_OR_RETURN(const std::string found, ReadFile(path, ErrorKind::kOutput));
    if (found == content) return absl::OkStatus();
    if (found.starts_with(content)) {
      fs::resize_file(path, content.size(), error);
      if (!error) return absl::OkStatus();
    }
  }
  RETURN_IF_ERROR(MakeDirectories(path.parent_path()));
  return WriteFileAtomic(path, content);
}

}  // namespace

std::string EventFileHeader() {
  std::string event, source;
  AppendDelimited(event, 3, "brain.Event:2");  // Event.file_version
  AppendDelimited(source, 1, "fedalt");        // SourceMetadata.writer
  AppendDelimited(event, 10, source);          // Event.source_metadata
  return Record(event);
}

std::string EventRecord(const OrderedJson& line) {
  std::string summary;
  for (const Scalar& scalar : kScalars) {
    const OrderedJson* field = FindField(line, scalar.field);
    if (field == nullptr || !field->is_number()) continue;
    std::string value;
    AppendDelimited(value, 1, scalar.tag);                            // Summary.Value.tag
    AppendFloat(value, 2, static_cast<float>(field->get<double>()));  // Summary.Value.simple_value
    AppendDelimited(summary, 1, value);                               // Summary.value
  }
  if (summary.empty()) return summary;
  const auto round = line["round"].get<int64_t>();
  std::string event;
  AppendDouble(event, 1, static_cast<double>(round));     // Event.wall_time
  AppendInteger(event, 2, static_cast<uint64_t>(round));  // Event.step
  AppendDelimited(event, 5, summary);                     // Event.summary
  return Record(event);
}

Status AppendEvents(const RunDirectory& directory, const std::vector<OrderedJson>& lines) {
  std::map<std::string, std::string> files;
  AddRound(lines, files);
  SyncTogether together;
  for (const auto& [site, events] : files) {
    const fs::path path = directory.events(site);
    std::error_code error;
    const bool begun = fs::exists(path, error) && fs::file_size(path, error) > 0;
    if (!begun) RETURN_IF_ERROR(MakeDirectories(path.parent_path()));
    RETURN_IF_ERROR(AppendToFile(path, begun ? events : EventFileHeader() + events));
  }
  return together.Commit(directory.root());
}

Status RestoreEvents(const RunDirectory& directory) {
  ASSIGN_OR_RETURN(const auto files, EventsOfMetrics(directory.metrics()));
  SyncTogether together;
  for (const auto& [site, events] : files) RETURN_IF_ERROR(MakeContent(directory.events(site), EventFileHeader() + events));
  std::error_code error;
  std::vector<fs::path> strangers;  // of a first round that was never closed
  for (const auto& entry : fs::directory_iterator(directory.tensorboard(), error))
    if (const std::string site = entry.path().filename().string(); !files.contains(site))
      strangers.push_back(directory.events(site));
  for (const fs::path& path : strangers) {
    fs::remove(path, error);
    if (error)
      return OutputError(absl::StrCat(path.string(), ": cannot be removed (", error.message(), "); remove it and resume again"));
  }
  return together.Commit(directory.root());
}

}  // namespace fedalt
