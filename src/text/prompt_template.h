// How an instruction becomes the text that the model reads. The response follows the prompt directly and ends with EOS.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fedalt {

class PromptTemplate {
 public:
  /// One of Names(): "alpaca_short" (algorithm: "### Instruction:\n{instruction}\n\n### Response:\n", the input, if any, as its own
  /// section), "alpaca" (with the preamble of Stanford Alpaca), "plain" ("{instruction} {input} " joined by single spaces). Errors:
  /// kConfig.
  static StatusOr<PromptTemplate> Named(std::string_view name);
  static std::vector<std::string> Names();

  std::string Render(std::string_view instruction, std::string_view input) const;
  const std::string& name() const { return name_; }

 private:
  std::string name_;
};

}  // namespace fedalt
