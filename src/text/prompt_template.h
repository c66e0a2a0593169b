// How an instruction becomes the text that the model reads. The response follows the prompt directly and ends with EOS.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fedalt {

/// A value; its functions are pure.
class PromptTemplate {
 public:
  /// A name among Names(): "alpaca_short" (algorithm: "### Instruction:\n{instruction}\n\n### Response:\n", the input, if any, as
  /// its own section), "alpaca" (with the preamble of Stanford Alpaca), "plain" ("{instruction} {input} " joined by single spaces),
  /// "none" (the instruction as it is; an input follows after a newline).
  /// Or a text of one's own: {instruction}, which must occur, and {input} are replaced; a text without {input} has a non-empty
  /// input behind its instruction, after a newline; {{ and }} stand for braces. Errors: kConfig (neither a known name nor a text
  /// with {instruction}; another placeholder or a lone brace; longer than kMostBytes; invalid UTF-8).
  static StatusOr<PromptTemplate> Named(std::string_view name_or_text);
  static std::vector<std::string> Names();
  static constexpr size_t kMostBytes = 10'000;  ///< of a text of one's own

  std::string Render(std::string_view instruction, std::string_view input) const;
  /// As it was given to Named.
  const std::string& name() const { return name_; }

 private:
  enum class Slot { kNone, kInstruction, kInput };
  /// Literal text, then what stands in its slot.
  struct Part {
    std::string text;
    Slot slot = Slot::kNone;
  };
  static StatusOr<std::vector<Part>> Parse(std::string_view text);

  std::string name_;
  std::vector<Part> parts_;  // of a text of one's own
  bool has_input_ = false;   // whether a part is the input
};

}  // namespace fedalt
