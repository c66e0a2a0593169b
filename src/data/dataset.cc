#include "data/dataset.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/check.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/random.h"
#include "base/strict_json.h"
#include "data/example_formats.h"

namespace fedalt {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kWhiteSpace = " \t\r\n";

/// The bytes of one example and where they stand.
struct Piece {
  std::string_view bytes;
  int64_t line = 1;   ///< of the file, from 1
  int64_t index = 0;  ///< of the example, from 0
};

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(kWhiteSpace) == text.npos;
}

int64_t CountLines(std::string_view text) {
  return std::count(text.begin(), text.end(), '\n');
}

/// The examples of a file, cut but not parsed. `status` is what is wrong behind the last piece.
struct Pieces {
  std::vector<Piece> pieces;
  Status status;
};

Pieces CutLines(std::string_view bytes) {
  Pieces result;
  for (int64_t line = 1; !bytes.empty(); ++line) {
    const size_t end = std::min(bytes.find('\n'), bytes.size());
    const std::string_view text = bytes.substr(0, end);
    if (!IsBlank(text)) result.pieces.push_back({text, line, static_cast<int64_t>(result.pieces.size())});
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
  }
  return result;
}

/// Cuts `[a, b, ...]` at its outer commas without understanding what stands between them: each piece is then parsed by itself, so
/// that an error has the line of its example and a large file never becomes one large JSON value.
class ArrayCutter {
 public:
  explicit ArrayCutter(std::string_view bytes) : bytes_(bytes), begin_(bytes.find('[') + 1) {}

  Pieces Cut() {
    line_ = LineOf(begin_);
    int64_t depth = 1;
    bool in_string = false;
    for (size_t i = begin_; i < bytes_.size(); ++i) {
      const char c = bytes_[i];
      if (in_string) {
        if (c == '\\') ++i;
        if (c == '"') in_string = false;
      } else if (c == '"') {
        in_string = true;
      } else if (c == '[' || c == '{') {
        ++depth;
      } else if (c == ',' && depth == 1) {
        Add(i);
      } else if ((c == ']' || c == '}') && --depth == 0) {
        return Close(i);
      }
    }
    if (!IsBlank(bytes_.substr(begin_))) Add(bytes_.size());
    const size_t last = bytes_.find_last_not_of(kWhiteSpace);
    result_.status = DataError(
        absl::StrCat("line ", LineOf(last), ": the file ends inside the array of examples; it is cut off or a ']' is missing"));
    return std::move(result_);
  }

 private:
  int64_t LineOf(size_t place) const { return 1 + CountLines(bytes_.substr(0, place)); }

  void Add(size_t end) {
    const std::string_view text = bytes_.substr(begin_, end - begin_);
    const size_t first = std::min(text.find_first_not_of(kWhiteSpace), text.size());
    result_.pieces.push_back(
        {text.substr(first), line_ + CountLines(text.substr(0, first)), static_cast<int64_t>(result_.pieces.size())});
    line_ += CountLines(text);
    begin_ = std::min(end + 1, bytes_.size());
  }

  Pieces Close(size_t end) {
    const bool is_empty = result_.pieces.empty() && IsBlank(bytes_.substr(begin_, end - begin_));
    if (!is_empty) Add(end);
    const size_t rest = bytes_.find_first_not_of(kWhiteSpace, end + 1);
    if (bytes_[end] == '}')
      result_.status = DataError(absl::StrCat("line ", LineOf(end), ": the array of examples is closed with '}' instead of ']'"));
    else if (rest != bytes_.npos)
      result_.status = DataError(absl::StrCat("line ", LineOf(rest), ": the array of examples is followed by something else"));
    return std::move(result_);
  }

  std::string_view bytes_;
  size_t begin_;
  int64_t line_ = 1;
  Pieces result_;
};

StatusOr<Example> ParsePiece(const Piece& piece, bool is_array, const ReadOptions& options, ReadReport& report) {
  const std::string where = absl::StrCat("line ", piece.line, ": example ", piece.index);
  if (IsBlank(piece.bytes)) return DataError(absl::StrCat(where, " is empty: there is a comma too many"));
  const StatusOr<Json> json = ParseJson(piece.bytes, {.kind = ErrorKind::kData, .max_depth = 32, .first_line = piece.line});
  if (!json.ok())
    return Annotate(json.status(), absl::StrCat("example ", piece.index,
                                                is_array ? "" : " (each line is one JSON object, or the file one array)"));
  StatusOr<Example> example = ExampleOfRecord(*json, options, report);
  if (!example.ok()) return DataError(absl::StrCat(where, " ", std::string(example.status().message())));
  example->id = piece.index;
  return example;
}

}  // namespace

StatusOr<std::vector<Example>> ParseExamples(std::string_view bytes, const std::string& name, const ReadOptions& options,
                                             ReadReport* report) {
  ReadReport nobodys;
  if (report == nullptr) report = &nobodys;
  if (bytes.starts_with("\xef\xbb\xbf")) bytes.remove_prefix(3);  // a byte order mark
  const size_t first = bytes.find_first_not_of(kWhiteSpace);
  if (first == bytes.npos) return DataError(absl::StrCat(name, ": is empty; give at least one example"));
  const bool is_array = bytes[first] == '[';
  if (!is_array && bytes[first] != '{')
    return DataError(absl::StrCat(name, ": begins with ", QuoteForMessage(bytes.substr(first, 8)),
                                  ", expected a JSON array of objects or one JSON object per line"));
  if (!is_array && options.fields == FieldNames() && IsTaskFile(bytes)) {
    StatusOr<std::vector<Example>> task = ParseTaskFile(bytes, std::filesystem::path(name).stem().string(), options, *report);
    if (!task.ok()) return Annotate(task.status(), name);
    if (task->empty()) return DataError(absl::StrCat(name, ": has no instances; give at least one"));
    return task;
  }
  const Pieces cut = is_array ? ArrayCutter(bytes).Cut() : CutLines(bytes);
  std::vector<Example> examples;
  examples.reserve(cut.pieces.size());
  for (const Piece& piece : cut.pieces) {  // before cut.status: a string that is not closed is found here, with its line
    RETURN_IF_ERROR(CheckInterrupt(absl::StrCat(name, " was read")));
    StatusOr<Example> example = ParsePiece(piece, is_array, options, *report);
    if (!example.ok()) return Annotate(example.status(), name);
    examples.push_back(std::move(example).value());
  }
  if (!cut.status.ok()) return Annotate(cut.status, name);
  if (examples.empty()) return DataError(absl::StrCat(name, ": has no examples; give at least one"));
  return examples;
}

StatusOr<std::vector<Example>> ReadExamples(const std::filesystem::path& path, const ReadOptions& options, ReadReport* report) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, ErrorKind::kData));
  return ParseExamples(bytes, path.string(), options, report);
}

TrainValidationSplit SplitValidation(std::vector<Example> examples, double share, uint64_t seed, uint64_t site) {
  FEDALT_CHECK(share >= 0.0 && share < 1.0, "the validation share is checked where the configuration is read");
  const int64_t n = static_cast<int64_t>(examples.size());
  int64_t held_out = std::llround(share * static_cast<double>(n));
  if (share > 0.0 && n > 1) held_out = std::clamp<int64_t>(held_out, 1, n - 1);
  if (n <= 1) held_out = 0;
  const std::vector<int64_t> order = RandomStream(seed, RandomPurpose::kSplit, {site}).Permutation(n);
  std::vector<bool> is_held_out(examples.size(), false);
  for (int64_t i = 0; i < held_out; ++i) is_held_out[static_cast<size_t>(order[static_cast<size_t>(i)])] = true;
  TrainValidationSplit split;
  for (size_t i = 0; i < examples.size(); ++i) (is_held_out[i] ? split.validation : split.train).push_back(std::move(examples[i]));
  return split;
}

}  // namespace fedalt
