#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <optional>

#include "text/oniguruma_syntax.h"
#include "text/utf8.h"

namespace fedalt {
namespace {

constexpr size_t kPatternLimitBytes = 64 << 10;
constexpr uint32_t kDepthLimit = 10000;
constexpr uint32_t kHeapLimitKib = 64 << 10;

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeCompileContext {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
};
struct FreeContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

std::string MessageOf(int error) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(error, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

struct Regex::Code {
  std::unique_ptr<pcre2_code, FreeCode> code;
  std::string shown;
};

StatusOr<Regex> Regex::FromOniguruma(std::string_view pattern) {
  if (pattern.size() > kPatternLimitBytes)
    return ModelError(
        absl::StrCat("a regular expression has ", pattern.size(), " bytes, at most ", kPatternLimitBytes, " are accepted"));
  ASSIGN_OR_RETURN(const std::string pcre, PcreFromOniguruma(pattern));
  return Compile(pattern, pcre);
}

StatusOr<Regex> Regex::FromLiteral(std::string_view text) {
  if (text.size() > kPatternLimitBytes)
    return ModelError(absl::StrCat("a pattern has ", text.size(), " bytes, at most ", kPatternLimitBytes, " are accepted"));
  return Compile(text, PcreFromLiteral(text));
}

StatusOr<Regex> Regex::Compile(std::string_view shown, const std::string& pcre) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  const std::unique_ptr<pcre2_compile_context, FreeCompileContext> options(pcre2_compile_context_create(nullptr));
  if (!options) return MemoryError("no memory for a regular expression");
  pcre2_set_newline(options.get(), PCRE2_NEWLINE_LF);  // what ^, $ and . take for the end of a line, on every installation
  auto code = std::make_shared<Code>();
  code->shown = std::string(shown);
  code->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pcre.data()), pcre.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                                 options.get()));
  if (!code->code) {
    return ModelError(absl::StrCat("the regular expression '", code->shown, "' is not supported (PCRE2: ", MessageOf(error),
                                   "); check the pattern in tokenizer.json"));
  }
  // Without the just-in-time compiler (not every machine has it) matching is slower and gives the same.
  (void)pcre2_jit_compile(code->code.get(), PCRE2_JIT_COMPLETE);
  Regex regex;
  regex.code_ = std::move(code);
  return regex;
}

bool Regex::CanBeEmpty() const {
  uint32_t empty = 1;
  (void)pcre2_pattern_info(code_->code.get(), PCRE2_INFO_MATCHEMPTY, &empty);
  return empty != 0;
}

StatusOr<std::vector<Span>> Regex::FindAll(std::string_view text) const {
  std::vector<Span> spans;
  if (text.empty()) return spans;
  const std::unique_ptr<pcre2_match_data, FreeMatch> match(pcre2_match_data_create(1, nullptr));
  const std::unique_ptr<pcre2_match_context, FreeContext> context(pcre2_match_context_create(nullptr));
  if (!match || !context) return MemoryError("no memory for matching a regular expression");
  // Honest patterns look at each character a few times; the limit grows with the text so that long runs of spaces pass.
  const size_t limit = 100000 + 32 * text.size();
  pcre2_set_match_limit(context.get(), static_cast<uint32_t>(std::min<size_t>(limit, 50'000'000)));
  pcre2_set_depth_limit(context.get(), kDepthLimit);
  pcre2_set_heap_limit(context.get(), kHeapLimitKib);
  std::optional<size_t> last_end;
  for (size_t from = 0; from <= text.size();) {
    const auto run = [&](uint32_t options) {
      return pcre2_match(code_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                         PCRE2_NO_UTF_CHECK | options, match.get(), context.get());
    };
    int count = run(0);
    if (count == PCRE2_ERROR_JIT_STACKLIMIT) count = run(PCRE2_NO_JIT);  // the interpreter works on the heap
    if (count == PCRE2_ERROR_NOMATCH) break;
    if (count < 0) {
      return DataError(absl::StrCat("the tokenizer's regular expression '", code_->shown, "' fails on a text of ", text.size(),
                                    " bytes (PCRE2: ", MessageOf(count), "); shorten the text or use another tokenizer"));
    }
    const PCRE2_SIZE* found = pcre2_get_ovector_pointer(match.get());
    const size_t begin = found[0], end = found[1];
    if (begin > end || begin < from)
      return ModelError(
          absl::StrCat("the regular expression '", code_->shown, "' moves a match backwards, which is not supported"));
    if (begin == end && last_end == end) {
      if (end == text.size()) break;
      from = end + ReadUtf8(text.substr(end)).length;
      continue;
    }
    spans.emplace_back(begin, end);
    from = end;
    last_end = end;
  }
  return spans;
}

}  // namespace fedalt
