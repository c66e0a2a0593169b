#include "base/strict_json.h"

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace fedalt {
namespace {

using Json = nlohmann::json;

// "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error ..." without what we say ourselves.
std::string ReasonOf(std::string_view what) {
  if (const size_t bracket = what.find("] "); bracket != what.npos) what.remove_prefix(bracket + 2);
  if (what.starts_with("parse error at "))
    if (const size_t colon = what.find(": "); colon != what.npos) what.remove_prefix(colon + 2);
  constexpr std::string_view kLastRead = "; last read: '";
  const size_t last_read = what.find(kLastRead);
  if (last_read == what.npos) return std::string(what.substr(0, 200));
  std::string_view token = what.substr(last_read + kLastRead.size());
  if (token.ends_with("'")) token.remove_suffix(1);
  return absl::StrCat(std::string(what.substr(0, last_read)), ", after ", QuoteForMessage(token));
}

/// Builds the value from the parser's events; the only place that sees a name before a second one overwrites it.
class Builder : public Json::json_sax_t {
 public:
  Builder(std::string_view bytes, const JsonOptions& options) : bytes_(bytes), options_(options) {}

  bool null() override { return Scalar(nullptr); }
  bool boolean(bool value) override { return Scalar(value); }
  bool number_integer(number_integer_t value) override { return Scalar(value); }
  bool number_unsigned(number_unsigned_t value) override { return Scalar(value); }
  bool number_float(number_float_t value, const string_t&) override { return Scalar(value); }
  bool string(string_t& value) override { return Scalar(std::move(value)); }
  bool binary(binary_t&) override { return Fail("binary data, which JSON does not have"); }
  bool start_object(std::size_t) override { return Open(Json::object()); }
  bool end_object() override { return Close(); }
  bool start_array(std::size_t) override { return Open(Json::array()); }
  bool end_array() override { return Close(); }

  bool key(string_t& name) override {
    if (open_.back()->contains(name))
      return Fail(absl::StrCat("the name ", QuoteForMessage(name), " appears twice in one JSON object"));
    name_ = std::move(name);
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    const std::string_view before = bytes_.substr(0, std::min(position > 0 ? position - 1 : 0, bytes_.size()));
    const int64_t line = options_.first_line + std::count(before.begin(), before.end(), '\n');
    const size_t newline = before.rfind('\n');
    const size_t column = before.size() - (newline == before.npos ? 0 : newline + 1) + 1;
    const std::string reason = ReasonOf(error.what());
    const char* advice =
        reason.find("unexpected end of input") == reason.npos ? "" : "; is the file cut off? Fetch or write it again";
    return Fail(absl::StrCat("line ", line, ", column ", column, ": broken JSON: ", reason, advice));
  }

  Status status() const { return status_; }
  Json TakeRoot() { return std::move(root_); }

 private:
  bool Fail(std::string_view message) {
    if (status_.ok()) status_ = MakeError(options_.kind, message);
    return false;
  }

  Json* Add(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *open_.back();
    if (parent.is_object()) return &(parent[name_] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }

  template <typename T>
  bool Scalar(T&& value) {
    Add(Json(std::forward<T>(value)));
    return true;
  }

  bool Open(Json value) {
    if (static_cast<int>(open_.size()) >= options_.max_depth)
      return Fail(absl::StrCat("JSON is nested deeper than the ", options_.max_depth, " levels that are accepted"));
    open_.push_back(Add(std::move(value)));
    return true;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  std::string_view bytes_;
  const JsonOptions& options_;
  Status status_;
  Json root_;
  std::vector<Json*> open_;  // stable: a container is not touched while one of its members is open
  std::string name_;
};

}  // namespace

StatusOr<nlohmann::json> ParseJson(std::string_view bytes, const JsonOptions& options) {
  // Two things that the parser below lets pass: it takes a zero byte for the end of the text and skips a byte order mark.
  if (const size_t zero = bytes.find('\0'); zero != bytes.npos)
    return MakeError(options.kind, absl::StrCat("line ", options.first_line + std::count(bytes.begin(), bytes.begin() + zero, '\n'),
                                                ": broken JSON: a zero byte; the file is damaged or not a text file"));
  if (bytes.starts_with("\xef\xbb\xbf"))
    return MakeError(options.kind, absl::StrCat("line ", options.first_line,
                                                ": broken JSON: a byte order mark; save the file as UTF-8 without it"));
  try {
    Builder builder(bytes, options);
    const bool complete =
        Json::sax_parse(bytes.begin(), bytes.end(), &builder, nlohmann::detail::input_format_t::json, /*strict=*/true);
    RETURN_IF_ERROR(builder.status());
    if (!complete) return MakeError(options.kind, "broken JSON");
    return builder.TakeRoot();
  } catch (const std::exception& error) {  // out of memory
    return MakeError(options.kind, absl::StrCat("JSON cannot be read (", error.what(), ")"));
  }
}

std::string QuoteForMessage(std::string_view text) {
  constexpr size_t kLongest = 80;
  std::string quoted = "\"";
  for (const char c : text.substr(0, kLongest)) quoted += (c >= 0x20 && c < 0x7f) ? c : '?';
  return quoted + (text.size() > kLongest ? "...\"" : "\"");
}

}  // namespace fedalt
