#include "text/bpe_model.h"

#include <absl/strings/str_split.h>

#include <algorithm>
#include <array>
#include <queue>

#include "text/utf8.h"

namespace fedalt {
namespace {

/// Pair of ids -> (rank, merged id). Open addressing: this lookup is most of the work of encoding.
class PairTable {
 public:
  struct Entry {
    uint64_t key = kEmpty;
    uint32_t rank = 0;
    int32_t id = 0;
  };

  void Reserve(size_t count) {
    size_t capacity = 16;
    while (capacity < count * 2) capacity *= 2;
    entries_.assign(capacity, Entry());
  }
  /// A later merge of the same pair replaces the earlier one.
  void Insert(int32_t left, int32_t right, uint32_t rank, int32_t id) {
    const uint64_t key = KeyOf(left, right);
    entries_[SlotOf(key)] = {key, rank, id};
  }
  const Entry* Find(int32_t left, int32_t right) const {
    const uint64_t key = KeyOf(left, right);
    const Entry& entry = entries_[SlotOf(key)];
    return entry.key == key ? &entry : nullptr;
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  static uint64_t KeyOf(int32_t left, int32_t right) { return (static_cast<uint64_t>(left) << 32) | static_cast<uint32_t>(right); }
  size_t SlotOf(uint64_t key) const {
    uint64_t hash = key * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
    size_t slot = static_cast<size_t>(hash) & (entries_.size() - 1);
    while (entries_[slot].key != kEmpty && entries_[slot].key != key) slot = (slot + 1) & (entries_.size() - 1);
    return slot;
  }
  std::vector<Entry> entries_;
};

struct Symbol {
  int32_t id;
  int32_t previous, next;  // positions in the word, -1 at its ends
  bool merged = false;     // into the symbol before it
};

struct Candidate {
  uint32_t rank;
  uint32_t position;
  int32_t id;
  bool operator<(const Candidate& other) const {  // the top of the queue is the largest
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

class BpeModel : public TokenModel {
 public:
  BpeModel(Vocabulary vocabulary, BpeOptions options) : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
    for (size_t byte = 0; byte < byte_ids_.size(); ++byte)
      byte_ids_[byte] = vocabulary_.IdOf(absl::StrFormat("<0x%02X>", byte)).value_or(-1);
    for (unsigned char c = 0; c < 128; ++c) {
      const char text = static_cast<char>(c);
      ascii_ids_[c] = vocabulary_.IdOf(std::string_view(&text, 1)).value_or(-1);
    }
    if (options_.unknown) unknown_id_ = vocabulary_.IdOf(*options_.unknown);
  }

  Status AddMerges(const Merges& merges);
  Status Tokenize(std::string_view word, std::vector<int32_t>& ids) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }

 private:
  Status Split(std::string_view word, std::vector<Symbol>& symbols) const;
  std::string_view Decorated(std::string_view character, bool is_first, bool is_last, std::string& buffer) const;
  bool AppendBytes(std::string_view character, std::vector<Symbol>& symbols) const;
  void MergeAll(std::vector<Symbol>& symbols) const;

  Vocabulary vocabulary_;
  BpeOptions options_;
  PairTable pairs_;
  std::optional<int32_t> unknown_id_;
  std::array<int32_t, 256> byte_ids_;
  std::array<int32_t, 128> ascii_ids_;
};

Status BpeModel::AddMerges(const Merges& merges) {
  pairs_.Reserve(merges.size());
  const size_t prefix = options_.continuing_prefix.size();
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string &left = merges[rank].first, &right = merges[rank].second;
    const auto absent = [&](std::string_view token) {
      return ModelError(absl::StrCat("merge ", rank, " ('", Shown(left), "' with '", Shown(right), "') needs the token '",
                                     Shown(token),
                                     "', which is not in the vocabulary; vocabulary and merges do not belong together"));
    };
    const std::optional<int32_t> left_id = vocabulary_.IdOf(left), right_id = vocabulary_.IdOf(right);
    if (!left_id) return absent(left);
    if (!right_id) return absent(right);
    if (right.size() < prefix) return absent(options_.continuing_prefix + right);
    const std::string merged = left + right.substr(prefix);
    const std::optional<int32_t> id = vocabulary_.IdOf(merged);
    if (!id) return absent(merged);
    pairs_.Insert(*left_id, *right_id, static_cast<uint32_t>(rank), *id);
  }
  return absl::OkStatus();
}

/// A character as the vocabulary writes it at its place in the word; `buffer` holds the text if it is not the character itself.
std::string_view BpeModel::Decorated(std::string_view character, bool is_first, bool is_last, std::string& buffer) const {
  const bool has_prefix = !is_first && !options_.continuing_prefix.empty();
  const bool has_suffix = is_last && !options_.end_suffix.empty();
  if (!has_prefix && !has_suffix) return character;
  buffer =
      absl::StrCat(has_prefix ? options_.continuing_prefix : "", std::string(character), has_suffix ? options_.end_suffix : "");
  return buffer;
}

bool BpeModel::AppendBytes(std::string_view character, std::vector<Symbol>& symbols) const {
  for (unsigned char byte : character)
    if (byte_ids_[byte] < 0) return false;
  for (unsigned char byte : character) symbols.push_back({byte_ids_[byte], 0, 0});
  return true;
}

Status BpeModel::Split(std::string_view word, std::vector<Symbol>& symbols) const {
  size_t unknown_waiting = 0;  // the original holds one unknown token back, behind the bytes of a fallback
  std::string buffer;
  for (size_t i = 0; i < word.size();) {
    const size_t start = i;
    (void)NextCodePoint(word, i);
    const std::string_view character = Decorated(word.substr(start, i - start), start == 0, i == word.size(), buffer);
    const int32_t id =
        character.size() == 1 ? ascii_ids_[static_cast<unsigned char>(character[0])] : vocabulary_.IdOf(character).value_or(-1);
    if (id >= 0) {
      if (unknown_waiting > 0) symbols.push_back({*unknown_id_, 0, 0});
      unknown_waiting = 0;
      symbols.push_back({id, 0, 0});
      continue;
    }
    if (options_.byte_fallback && AppendBytes(character, symbols)) continue;
    if (!options_.unknown) continue;
    if (!unknown_id_) {
      return DataError(absl::StrCat("the character '", std::string(character),
                                    "' is not in the tokenizer's vocabulary, and neither is its ", "unknown token '",
                                    Shown(*options_.unknown), "'; use other text or another tokenizer"));
    }
    if (unknown_waiting > 0 && !options_.fuse_unknown) symbols.push_back({*unknown_id_, 0, 0});
    ++unknown_waiting;
  }
  if (unknown_waiting > 0) symbols.push_back({*unknown_id_, 0, 0});
  return absl::OkStatus();
}

void BpeModel::MergeAll(std::vector<Symbol>& symbols) const {
  const int32_t count = static_cast<int32_t>(symbols.size());
  std::vector<Candidate> storage;
  storage.reserve(symbols.size());
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(storage));
  const auto consider = [&](int32_t position) {
    const Symbol& left = symbols[static_cast<size_t>(position)];
    if (left.next < 0) return;
    if (const PairTable::Entry* merge = pairs_.Find(left.id, symbols[static_cast<size_t>(left.next)].id))
      queue.push({merge->rank, static_cast<uint32_t>(position), merge->id});
  };
  for (int32_t i = 0; i < count; ++i) {
    symbols[static_cast<size_t>(i)].previous = i - 1;
    symbols[static_cast<size_t>(i)].next = i + 1 < count ? i + 1 : -1;
  }
  for (int32_t i = 0; i < count; ++i) consider(i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[top.position];
    if (left.merged || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    // The neighbours may have changed since the pair was queued.
    const PairTable::Entry* merge = pairs_.Find(left.id, right.id);
    if (!merge || merge->id != top.id) continue;
    left.id = top.id;
    left.next = right.next;
    right.merged = true;
    if (right.next >= 0) symbols[static_cast<size_t>(right.next)].previous = static_cast<int32_t>(top.position);
    if (left.previous >= 0) consider(left.previous);
    consider(static_cast<int32_t>(top.position));
  }
}

Status BpeModel::Tokenize(std::string_view word, std::vector<int32_t>& ids) const {
  if (word.empty()) return absl::OkStatus();
  if (options_.ignore_merges) {
    if (const std::optional<int32_t> id = vocabulary_.IdOf(word)) {
      ids.push_back(*id);
      return absl::OkStatus();
    }
  }
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  RETURN_IF_ERROR(Split(word, symbols));
  if (symbols.size() > 1) MergeAll(symbols);
  for (const Symbol& symbol : symbols)
    if (!symbol.merged) ids.push_back(symbol.id);
  return absl::OkStatus();
}

StatusOr<Merges> MergesFromJson(const Json& json) {
  Merges merges;
  const Json* list = FindMember(json, "merges");
  if (!list || !list->is_array()) return ModelError("model: 'merges' is absent or no list; the file is incomplete");
  merges.reserve(list->size());
  for (const Json& merge : *list) {
    if (merge.is_string()) {
      const std::string& text = merge.get_ref<const std::string&>();
      if (text.starts_with("#version")) continue;
      const size_t space = text.find(' ');
      if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
        return ModelError(
            absl::StrCat("model: merge ", merges.size(), " is '", Shown(text), "', expected two tokens with a space between"));
      merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    } else {
      return ModelError(
          absl::StrCat("model: merge ", merges.size(), " is ", merge.type_name(), ", expected \"a b\" or [\"a\", \"b\"]"));
    }
  }
  return merges;
}

}  // namespace

StatusOr<std::unique_ptr<TokenModel>> MakeBpeModel(Vocabulary vocabulary, const Merges& merges, BpeOptions options) {
  auto model = std::make_unique<BpeModel>(std::move(vocabulary), std::move(options));
  RETURN_IF_ERROR(model->AddMerges(merges));
  return model;
}

StatusOr<std::unique_ptr<TokenModel>> MakeBpeModel(const Json& json, Vocabulary vocabulary) {
  if (const Json* dropout = FindMember(json, "dropout"); dropout && !(dropout->is_number() && dropout->get<double>() == 0))
    return ModelError("model: 'dropout' makes encoding random, which is not supported; set it to null in tokenizer.json");
  BpeOptions options;
  ASSIGN_OR_RETURN(options.unknown, OptionalString(json, "unk_token", "model"));
  ASSIGN_OR_RETURN(const std::optional<std::string> prefix, OptionalString(json, "continuing_subword_prefix", "model"));
  ASSIGN_OR_RETURN(const std::optional<std::string> suffix, OptionalString(json, "end_of_word_suffix", "model"));
  options.continuing_prefix = prefix.value_or("");
  options.end_suffix = suffix.value_or("");
  ASSIGN_OR_RETURN(options.fuse_unknown, OptionalBool(json, "fuse_unk", false, "model"));
  ASSIGN_OR_RETURN(options.byte_fallback, OptionalBool(json, "byte_fallback", false, "model"));
  ASSIGN_OR_RETURN(options.ignore_merges, OptionalBool(json, "ignore_merges", false, "model"));
  ASSIGN_OR_RETURN(const Merges merges, MergesFromJson(json));
  return MakeBpeModel(std::move(vocabulary), merges, std::move(options));
}

StatusOr<Merges> ParseMergesText(std::string_view text) {
  if (FirstInvalidUtf8(text)) return ModelError("is not valid UTF-8, expected lines of two tokens");
  Merges merges;
  size_t line_number = 0;
  while (!text.empty()) {
    ++line_number;
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("#version")) continue;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos)
      return ModelError(absl::StrCat("line ", line_number, " is '", Shown(line), "', expected two tokens with a space between"));
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return merges;
}

}  // namespace fedalt
