#include "text/streaming_decoder.h"

#include <algorithm>
#include <string_view>

namespace fedalt {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

size_t CommonPrefix(std::string_view a, std::string_view b) {
  return static_cast<size_t>(
      std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(std::min(a.size(), b.size())), b.begin()).first - a.begin());
}

}  // namespace

std::string StreamingDecoder::Push(int32_t id) {
  ids_.push_back(id);
  std::string text = AnswerText(tokenizer_, prompt_, ids_);
  size_t certain = text.size();
  // A byte that can be no part of a character shows what a later byte token could still undo: where a run of byte tokens is not
  // valid as a whole, some decoders turn all of it into U+FFFD.
  if (const std::optional<int32_t> spoiler = tokenizer_.IdOf("<0xFF>")) {
    ids_.push_back(*spoiler);
    certain = CommonPrefix(text, AnswerText(tokenizer_, prompt_, ids_));
    ids_.pop_back();
  }
  while (certain > 0 && certain < text.size() && (static_cast<unsigned char>(text[certain]) & 0xC0) == 0x80) --certain;
  // U+FFFD at the end may be the beginning of a character.
  while (std::string_view(text).substr(0, certain).ends_with(kReplacement)) certain -= kReplacement.size();
  if (certain <= printed_bytes_) return std::string();
  std::string piece = text.substr(printed_bytes_, certain - printed_bytes_);
  printed_bytes_ = certain;
  return piece;
}

std::string StreamingDecoder::Finish() {
  const std::string text = AnswerText(tokenizer_, prompt_, ids_);
  std::string rest = text.size() > printed_bytes_ ? text.substr(printed_bytes_) : std::string();
  ids_.clear();
  printed_bytes_ = 0;
  return rest;
}

}  // namespace fedalt
