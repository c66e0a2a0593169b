// links: text
// The loaders of tokenizer.json and tokenizer.model read any bytes; what loads encodes and decodes text.
// The first byte chooses the loader, the rest is the file.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "text/loaders.h"
#include "text/oniguruma_syntax.h"
#include "text/regex.h"
#include "text/streaming_decoder.h"
#include "text/utf8.h"

namespace fedalt {
namespace {

constexpr std::string_view kText = "Hello  the world's 123 \xC3\xA9\xE4\xBD\xA0\xF0\x9F\x98\x80 <s>x</s>\n\ta\xCC\x81<|end|> \x01";

void Use(const Tokenizer& tokenizer) {
  for (const bool special : {true, false}) {
    const StatusOr<std::vector<int32_t>> ids = tokenizer.Encode(kText, special);
    if (ids.ok()) {
      FEDALT_CHECK(!FirstInvalidUtf8(tokenizer.Decode(*ids, special)), "decoded text is valid UTF-8");
    }
  }
  std::vector<int32_t> some = {-1, 0, 1, 2, 3, 4, 5, 70, 260, 1 << 30};
  StreamingDecoder streaming(tokenizer);
  std::string text;
  for (int32_t id : some) text += streaming.Push(id);
  text += streaming.Finish();
  (void)tokenizer.Decode(some, true);
  (void)tokenizer.IdOf("a");
}

}  // namespace
}  // namespace fedalt

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      if (const auto tokenizer = fedalt::LoadTokenizerJson(bytes, fedalt::SpecialTokens()); tokenizer.ok())
        fedalt::Use(**tokenizer);
      break;
    case 1:
      if (const auto tokenizer = fedalt::LoadSentencePiece(bytes, fedalt::SpecialTokens()); tokenizer.ok())
        fedalt::Use(**tokenizer);
      break;
    case 2: {
      const size_t half = bytes.find('\0');
      const std::string_view merges = half == std::string_view::npos ? std::string_view() : bytes.substr(half + 1);
      fedalt::SpecialTokens special;
      special.tokenizer_class = size % 2 == 0 ? "GPT2Tokenizer" : "Qwen2Tokenizer";
      if (const auto tokenizer = fedalt::LoadVocabAndMerges(bytes.substr(0, half), merges, special); tokenizer.ok())
        fedalt::Use(**tokenizer);
      break;
    }
    default:
      if (const auto regex = fedalt::Regex::FromOniguruma(bytes); regex.ok()) (void)regex->FindAll(fedalt::kText);
  }
  return 0;
}
