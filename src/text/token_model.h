// From a word to ids: byte pair encoding and whole words. Immutable after loading; safe from many threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/json_reader.h"

namespace fedalt {

/// Ids stay below this; real vocabularies end near 300 thousand.
inline constexpr int64_t kIdLimit = 1 << 24;

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
template <class Value>
using StringMap = std::unordered_map<std::string, Value, StringHash, std::equal_to<>>;

/// Tokens and their ids, one to one.
class Vocabulary {
 public:
  /// Reads {"token": id, ...}. Errors: no object, ids that are no ids, two tokens with one id.
  static StatusOr<Vocabulary> FromJson(const Json& json);

  /// Precondition: every id stands once, from 0 to kIdLimit - 1.
  static Vocabulary Of(StringMap<int32_t> ids);

  std::optional<int32_t> IdOf(std::string_view token) const;
  const std::string* TokenOf(int32_t id) const;
  size_t size() const { return ids_.size(); }
  int32_t largest_id() const { return largest_id_; }

 private:
  StringMap<int32_t> ids_;
  std::unordered_map<int32_t, const std::string*> tokens_;  // points to the keys of ids_, which do not move
  int32_t largest_id_ = -1;
};

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  /// Appends the ids of one word, as the pre-tokenizer made it.
  virtual Status Tokenize(std::string_view word, std::vector<int32_t>& ids) const = 0;
  virtual const Vocabulary& vocabulary() const = 0;
};

/// The "model" section of a tokenizer.json: type BPE or WordLevel.
StatusOr<std::unique_ptr<TokenModel>> MakeTokenModel(const Json& json);

}  // namespace fedalt
