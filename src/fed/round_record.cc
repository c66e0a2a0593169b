#include "fed/round_record.h"

#include <absl/strings/str_format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>

namespace fedalt {
namespace {

constexpr char kTitle[] = "fedalt round record v1\n";
constexpr size_t kHexDigest = 64;

std::string Bits(double value) {
  return absl::StrFormat("%016x", std::bit_cast<uint64_t>(value));
}

std::string Text(std::string_view text) {
  return absl::StrCat(text.size(), ":", std::string(text));
}

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

/// Reads what EncodeRecord writes; false where it is anything else.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  bool Take(std::string_view expected) {
    if (!rest_.starts_with(expected)) return false;
    rest_.remove_prefix(expected.size());
    return true;
  }
  bool TakeNumber(int64_t& value) {
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    const auto length = static_cast<size_t>(end - rest_.data());
    if (error != std::errc() || value < 0 || rest_.substr(0, length) != std::to_string(value)) return false;
    rest_.remove_prefix(length);
    return true;
  }
  bool TakeText(std::string& text) {
    int64_t size = 0;
    if (!TakeNumber(size) || !Take(":") || static_cast<uint64_t>(size) > rest_.size()) return false;
    text = rest_.substr(0, static_cast<size_t>(size));
    rest_.remove_prefix(text.size());
    return true;
  }
  bool TakeHex(size_t digits, std::string& hex) {
    hex = rest_.substr(0, digits);
    rest_.remove_prefix(hex.size());
    return hex.size() == digits && IsHex(hex);
  }
  bool TakeDigest(Sha256Digest& digest) {
    std::string hex;
    if (!TakeHex(kHexDigest, hex)) return false;
    for (size_t i = 0; i < digest.size(); ++i) std::from_chars(&hex[2 * i], &hex[2 * i] + 2, digest[i], 16);
    return true;
  }
  bool TakeWeight(double& weight) {
    std::string hex;
    constexpr size_t kDigits = 16;
    if (!TakeHex(kDigits, hex)) return false;
    uint64_t bits = 0;
    std::from_chars(hex.data(), hex.data() + hex.size(), bits, 16);
    weight = std::bit_cast<double>(bits);
    return weight > 0.0 && std::isfinite(weight);
  }
  /// A number of items, each of at least so many bytes.
  bool TakeCount(size_t bytes_of_item, size_t& count) {
    int64_t value = 0;
    if (!TakeNumber(value) || !Take("\n") || static_cast<uint64_t>(value) > rest_.size() / bytes_of_item) return false;
    count = static_cast<size_t>(value);
    return true;
  }
  bool done() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

template <typename Item>
bool Ascends(const std::vector<Item>& items) {
  return std::adjacent_find(items.begin(), items.end(), [](const Item& a, const Item& b) { return a.site >= b.site; }) ==
         items.end();
}

bool ParseHead(Reader& reader, RoundRecord& record) {
  int64_t size = 0;
  const bool read = reader.Take(kTitle) && reader.TakeText(record.run) && reader.Take("\n") && reader.TakeNumber(record.round) &&
                    reader.Take(" ") && reader.TakeNumber(record.previous_round) && reader.Take(" ") &&
                    reader.TakeDigest(record.previous) && reader.Take("\n") && reader.TakeWeight(record.total_weight) &&
                    reader.Take("\n") && reader.TakeNumber(size) && reader.Take(" ") && reader.TakeDigest(record.log.root) &&
                    reader.Take("\n");
  record.log.size = static_cast<uint64_t>(size);
  return read && record.round >= 1 && record.previous_round < record.round;
}

bool ParseContents(Reader& reader, RoundRecord& record) {
  size_t count = 0;
  if (!reader.TakeCount(kHexDigest, count)) return false;
  record.contents.resize(count);
  for (RecordedContent& of : record.contents)
    if (!reader.TakeText(of.site) || !reader.Take(" ") || !reader.TakeHex(kHexDigest, of.content) || !reader.Take("\n"))
      return false;
  const bool of_sites = !record.contents.empty() && !record.contents.front().site.empty();
  return Ascends(record.contents) && (count == 1 || of_sites);
}

bool ParseContributors(Reader& reader, RoundRecord& record) {
  size_t count = 0;
  if (!reader.TakeCount(kHexDigest, count)) return false;
  record.contributors.resize(count);
  for (RecordedContribution& of : record.contributors) {
    if (!reader.TakeText(of.site) || !reader.Take(" ") || !reader.TakeNumber(of.round) || !reader.Take(" ") ||
        !reader.TakeWeight(of.weight) || !reader.Take(" ") || !reader.TakeHex(kHexDigest, of.content) || !reader.Take("\n"))
      return false;
    if (of.site.empty() || of.round < 1 || of.round > record.round) return false;
  }
  return count > 0 && Ascends(record.contributors);
}

template <typename Item>
const Item* Find(const std::vector<Item>& items, std::string_view site) {
  const auto found =
      std::lower_bound(items.begin(), items.end(), site, [](const Item& item, std::string_view name) { return item.site < name; });
  return found != items.end() && found->site == site ? &*found : nullptr;
}

}  // namespace

const RecordedContribution* RoundRecord::ContributionOf(std::string_view site) const {
  return Find(contributors, site);
}

const RecordedContent* RoundRecord::ContentFor(std::string_view site) const {
  if (contents.size() == 1 && contents.front().site.empty()) return &contents.front();
  return Find(contents, site);
}

std::string EncodeRecord(const RoundRecord& record) {
  std::string text = absl::StrCat(kTitle, Text(record.run), "\n", record.round, " ", record.previous_round, " ",
                                  HexOf(record.previous), "\n", Bits(record.total_weight), "\n", record.log.size, " ",
                                  HexOf(record.log.root), "\n", record.contents.size(), "\n");
  for (const RecordedContent& of : record.contents) absl::StrAppend(&text, Text(of.site), " ", of.content, "\n");
  absl::StrAppend(&text, record.contributors.size(), "\n");
  for (const RecordedContribution& of : record.contributors)
    absl::StrAppend(&text, Text(of.site), " ", of.round, " ", Bits(of.weight), " ", of.content, "\n");
  return text;
}

StatusOr<RoundRecord> ParseRecord(std::string_view bytes) {
  Reader reader(bytes);
  RoundRecord record;
  if (!ParseHead(reader, record) || !ParseContents(reader, record) || !ParseContributors(reader, record) || !reader.done())
    return IntegrityError(absl::StrCat("a round's record of ", bytes.size(),
                                       " bytes is not one of this version of fedalt; it was "
                                       "changed, or the programs do not fit"));
  return record;
}

std::string AdoptionMessage(const Sha256Digest& digest) {
  return absl::StrCat("fedalt adopted record v1\n", HexOf(digest), "\n");
}

}  // namespace fedalt
