#include "text/prompt_template.h"

#include <absl/strings/str_join.h>

namespace fedalt {
namespace {

constexpr char kPreamble[] =
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n";
constexpr char kPreambleWithInput[] =
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that "
    "appropriately completes the request.\n\n";

}  // namespace

std::vector<std::string> PromptTemplate::Names() {
  return {"alpaca_short", "alpaca", "plain"};
}

StatusOr<PromptTemplate> PromptTemplate::Named(std::string_view name) {
  for (const std::string& known : Names()) {
    if (name != known) continue;
    PromptTemplate made;
    made.name_ = known;
    return made;
  }
  return ConfigError(
      absl::StrCat("the prompt template '", std::string(name), "' is not known; expected one of ", absl::StrJoin(Names(), ", ")));
}

std::string PromptTemplate::Render(std::string_view instruction, std::string_view input) const {
  std::string text;
  if (name_ == "plain") {
    absl::StrAppend(&text, std::string(instruction), " ");
    if (!input.empty()) absl::StrAppend(&text, std::string(input), " ");
    return text;
  }
  if (name_ == "alpaca") text = input.empty() ? kPreamble : kPreambleWithInput;
  absl::StrAppend(&text, "### Instruction:\n", std::string(instruction), "\n\n");
  if (!input.empty()) absl::StrAppend(&text, "### Input:\n", std::string(input), "\n\n");
  text += "### Response:\n";
  return text;
}

}  // namespace fedalt
