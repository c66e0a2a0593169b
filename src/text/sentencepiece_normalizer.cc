#include "text/sentencepiece_normalizer.h"

#include <utility>

#include "text/utf8.h"

namespace fedalt {
namespace {

// One unit of darts-clone's double array: a label, whether a value lies below it, and where its children are.
bool HasLeaf(uint32_t unit) {
  return ((unit >> 8) & 1) != 0;
}
uint32_t ValueOf(uint32_t unit) {
  return unit & 0x7FFFFFFF;
}
uint32_t LabelOf(uint32_t unit) {
  return unit & 0x800000FF;
}
size_t OffsetOf(uint32_t unit) {
  return static_cast<size_t>(unit >> 10) << ((unit & 0x200) >> 6);
}

uint32_t LittleEndian(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  return value;
}

}  // namespace

StatusOr<SentencePieceNormalizer> SentencePieceNormalizer::Make(const SentencePieceModel& model, LiteralMatcher user_defined) {
  SentencePieceNormalizer normalizer;
  normalizer.add_dummy_prefix_ = model.add_dummy_prefix;
  normalizer.remove_extra_whitespaces_ = model.remove_extra_whitespaces;
  normalizer.escape_whitespaces_ = model.escape_whitespaces;
  normalizer.whitespace_as_suffix_ = model.whitespace_as_suffix;
  normalizer.user_defined_ = std::move(user_defined);
  const std::string_view blob = model.precompiled_charsmap;
  if (blob.empty()) return normalizer;
  const uint32_t trie_bytes = blob.size() < 4 ? 0 : LittleEndian(blob, 0);
  if (trie_bytes == 0 || trie_bytes % 4 != 0 || trie_bytes > blob.size() - 4)
    return ModelError(absl::StrCat("its table of replacements (normalizer_spec) has ", blob.size(), " bytes and claims a trie of ",
                                   trie_bytes, "; the file is broken, fetch it again"));
  normalizer.trie_.resize(trie_bytes / 4);
  for (size_t i = 0; i < normalizer.trie_.size(); ++i) normalizer.trie_[i] = LittleEndian(blob, 4 + 4 * i);
  normalizer.replacements_ = std::string(blob.substr(4 + trie_bytes));
  if (FirstInvalidUtf8(normalizer.replacements_))
    return ModelError("its table of replacements (normalizer_spec) is not valid UTF-8");
  return normalizer;
}

std::pair<std::string_view, size_t> SentencePieceNormalizer::Prefix(std::string_view text) const {
  if (const LiteralMatcher::Literal* literal = user_defined_.LongestAt(text, 0)) return {literal->text, literal->text.size()};
  size_t length = 0, value = 0;
  if (!trie_.empty()) {
    size_t node = OffsetOf(trie_[0]);
    for (size_t i = 0; i < text.size(); ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      node ^= byte;
      if (node >= trie_.size() || LabelOf(trie_[node]) != byte) break;
      const uint32_t unit = trie_[node];
      node ^= OffsetOf(unit);
      if (!HasLeaf(unit)) continue;
      if (node >= trie_.size()) break;
      length = i + 1;
      value = ValueOf(trie_[node]);
    }
  }
  // A broken table could end a match within a character; then nothing is replaced.
  const bool is_whole = length == text.size() || (static_cast<unsigned char>(text[length]) & 0xC0) != 0x80;
  if (length == 0 || !is_whole || value > replacements_.size()) {
    const size_t one = ReadUtf8(text).length;
    return {text.substr(0, one), one};
  }
  const std::string_view tail = std::string_view(replacements_).substr(value);
  if (!tail.empty() && (static_cast<unsigned char>(tail[0]) & 0xC0) == 0x80) return {text.substr(0, length), length};
  return {tail.substr(0, tail.find('\0')), length};
}

std::string SentencePieceNormalizer::Apply(std::string_view text, bool begins) const {
  std::string out;
  if (remove_extra_whitespaces_) {
    while (!text.empty()) {
      const auto [replaced, consumed] = Prefix(text);
      if (replaced != " ") break;
      text.remove_prefix(consumed);
    }
  }
  if (text.empty()) return out;
  const std::string space(escape_whitespaces_ ? kSpaceSymbol : std::string_view(" "));
  if (!whitespace_as_suffix_ && add_dummy_prefix_ && begins) out += space;
  bool after_space = remove_extra_whitespaces_;
  while (!text.empty()) {
    auto [replaced, consumed] = Prefix(text);
    while (after_space && replaced.starts_with(' ')) replaced.remove_prefix(1);
    if (!replaced.empty()) {
      for (char c : replaced) {
        if (c == ' ') {
          out += space;
        } else {
          out += c;
        }
      }
      after_space = replaced.ends_with(' ');
    }
    text.remove_prefix(consumed);
    if (!remove_extra_whitespaces_) after_space = false;
  }
  if (remove_extra_whitespaces_)
    while (out.ends_with(space)) out.resize(out.size() - space.size());
  if (whitespace_as_suffix_ && add_dummy_prefix_) out += space;
  return out;
}

}  // namespace fedalt
