#include "text/prompt_template.h"

#include <absl/strings/str_join.h>

#include <algorithm>

#include "base/strict_json.h"
#include "text/utf8.h"

namespace fedalt {
namespace {

constexpr char kPreamble[] =
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n";
constexpr char kPreambleWithInput[] =
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that "
    "appropriately completes the request.\n\n";
constexpr char kNone[] = "none";

Status BadTemplate(std::string_view text, const std::string& what) {
  return ConfigError(absl::StrCat("the prompt template ", QuoteForMessage(text), " ", what));
}

}  // namespace

std::vector<std::string> PromptTemplate::Names() {
  return {"alpaca_short", "alpaca", "plain", kNone};
}

StatusOr<PromptTemplate> PromptTemplate::Named(std::string_view name_or_text) {
  const std::vector<std::string> names = Names();
  PromptTemplate made;
  made.name_ = std::string(name_or_text);
  const bool is_name = std::find(names.begin(), names.end(), made.name_) != names.end();
  if (is_name && made.name_ != kNone) return made;
  ASSIGN_OR_RETURN(made.parts_, Parse(is_name ? "{instruction}" : name_or_text));
  const auto has = [&made](Slot slot) {
    return std::any_of(made.parts_.begin(), made.parts_.end(), [slot](const Part& part) { return part.slot == slot; });
  };
  made.has_input_ = has(Slot::kInput);
  if (has(Slot::kInstruction)) return made;
  return BadTemplate(name_or_text, absl::StrCat("is not known; expected one of ", absl::StrJoin(names, ", "),
                                                ", or a text that holds {instruction}, such as \"Q: {instruction}\\nA:\""));
}

StatusOr<std::vector<PromptTemplate::Part>> PromptTemplate::Parse(std::string_view text) {
  if (text.size() > kMostBytes)
    return BadTemplate(text, absl::StrCat("has ", text.size(), " bytes; expected at most ", kMostBytes));
  if (FirstInvalidUtf8(text)) return ConfigError("the prompt template is not valid UTF-8; store the configuration as UTF-8");
  std::vector<Part> parts(1);
  for (size_t i = 0; i < text.size(); ++i) {
    const std::string_view rest = text.substr(i);
    if (rest.front() != '{' && rest.front() != '}') {
      parts.back().text += rest.front();
    } else if (rest.starts_with("{{") || rest.starts_with("}}")) {
      parts.back().text += rest.front();
      ++i;
    } else {
      const std::string_view placeholder = rest.substr(0, rest.find('}') + 1);  // empty: no brace closes it
      const Slot slot = placeholder == "{instruction}" ? Slot::kInstruction : placeholder == "{input}" ? Slot::kInput : Slot::kNone;
      if (slot == Slot::kNone)
        return BadTemplate(
            text, absl::StrCat("holds ", placeholder.empty() ? "a lone brace" : QuoteForMessage(placeholder),
                               "; expected {instruction} and, where wanted, {input}, and {{ or }} for a brace of the text"));
      parts.back().slot = slot;
      parts.emplace_back();
      i += placeholder.size() - 1;
    }
  }
  return parts;
}

std::string PromptTemplate::Render(std::string_view instruction, std::string_view input) const {
  std::string text;
  for (const Part& part : parts_) {
    text += part.text;
    if (part.slot == Slot::kInstruction) text += instruction;
    if (part.slot == Slot::kInstruction && !has_input_ && !input.empty()) absl::StrAppend(&text, "\n", std::string(input));
    if (part.slot == Slot::kInput) text += input;
  }
  if (!parts_.empty()) return text;
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
