#include "app/config_fields.h"

#include <absl/strings/match.h>

#include <cmath>
#include <set>

namespace fedalt {

namespace {

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

/// What YAML takes and from_chars does not: a plus sign, and '_' between digits.
std::string Plain(std::string_view text) {
  if (text.starts_with('+') && text.size() > 1 && (IsDigit(text[1]) || text[1] == '.')) text.remove_prefix(1);
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool between = i > 0 && i + 1 < text.size() && IsDigit(text[i - 1]) && IsDigit(text[i + 1]);
    if (text[i] != '_' || !between) plain += text[i];
  }
  return plain;
}

/// "010" is 8 to YAML 1.1 and 10 to YAML 1.2.
bool IsAmbiguous(std::string_view text) {
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  return text.size() > 1 && text[0] == '0' && IsDigit(text[1]);
}

template <typename T>
bool ReadWhole(const YamlNode& node, T& value) {
  return node.kind == YamlNode::Kind::kScalar && !IsAmbiguous(node.text) && FromChars(Plain(node.text), value);
}

}  // namespace

bool ReadInteger(const YamlNode& node, int64_t& value) {
  return ReadWhole(node, value);
}

bool ReadSeed(const YamlNode& node, uint64_t& value) {
  return ReadWhole(node, value);
}

bool ReadNumber(const YamlNode& node, double& value) {
  double parsed = 0.0;
  if (!ReadWhole(node, parsed) || !std::isfinite(parsed)) return false;
  value = parsed;
  return true;
}

bool ReadFieldNames(const YamlNode& node, FieldNames& names) {
  if (node.kind != YamlNode::Kind::kMap) return false;
  FieldNames read;
  std::set<std::string> distinct;
  for (const auto& [part, name] : node.entries) {
    std::string* const field = part == "instruction" ? &read.instruction
                               : part == "input"     ? &read.input
                               : part == "output"    ? &read.output
                               : part == "tag"       ? &read.tag
                                                     : nullptr;
    if (field == nullptr || name.kind != YamlNode::Kind::kScalar || name.text.empty()) return false;
    if (!distinct.insert(name.text).second) return false;
    *field = name.text;
  }
  names = read;
  return true;
}

std::string WriteFieldNames(const FieldNames& names) {
  std::string map;
  for (const auto& [part, name] :
       {std::pair{"instruction", &names.instruction}, {"input", &names.input}, {"output", &names.output}, {"tag", &names.tag}}) {
    if (!name->empty()) absl::StrAppend(&map, map.empty() ? "" : ", ", part, ": ", YamlQuote(*name));
  }
  return absl::StrCat("{", map, "}");
}

bool ReadBoolean(const YamlNode& node, bool& value) {
  if (node.kind != YamlNode::Kind::kScalar) return false;
  for (const auto& [word, meaning] :
       {std::pair{"true", true}, {"yes", true}, {"on", true}, {"false", false}, {"no", false}, {"off", false}}) {
    if (!absl::EqualsIgnoreCase(node.text, word)) continue;
    value = meaning;
    return true;
  }
  return false;
}

bool IsWord(const YamlNode& node, std::string_view word) {
  bool meaning = false, given = false;
  YamlNode expected;
  expected.kind = YamlNode::Kind::kScalar;
  expected.text = std::string(word);
  if (node.kind != YamlNode::Kind::kScalar) return false;
  return node.text == word || (ReadBoolean(expected, meaning) && ReadBoolean(node, given) && meaning == given);
}

std::string NumberText(double value) {
  char buffer[40];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, value);
  return std::string(buffer, result.ptr);
}

std::string Range::Text() const {
  if (low_open || high_open) return absl::StrCat("a number in ", low_open ? "(" : "[", low, ", ", high, high_open ? ")" : "]");
  return absl::StrCat("a number from ", low, " to ", high);
}

bool Range::Contains(double value) const {
  return (low_open ? value > low : value >= low) && (high_open ? value < high : value <= high);
}

ConfigKey Integer(std::string name, int64_t low, int64_t high, const Field<int64_t>& field) {
  return {std::move(name), absl::StrCat("an integer from ", low, " to ", high),
          [=](const YamlNode& node, RunConfig& config) {
            int64_t value = 0;
            if (!ReadInteger(node, value) || value < low || value > high) return false;
            field(config) = value;
            return true;
          },
          [=](const RunConfig& config) { return absl::StrCat(Get(field, config)); }};
}

ConfigKey Number(std::string name, Range range, const Field<double>& field) {
  return {std::move(name), range.Text(),
          [=](const YamlNode& node, RunConfig& config) {
            double value = 0.0;
            if (!ReadNumber(node, value) || !range.Contains(value)) return false;
            field(config) = value;
            return true;
          },
          [=](const RunConfig& config) { return NumberText(Get(field, config)); }};
}

ConfigKey TextChoice(std::string name, const std::vector<std::string>& names, Field<std::string> field) {
  Choices<std::string> choices;
  for (const std::string& text : names) choices.emplace_back(text, text);
  return Choice<std::string>(std::move(name), std::move(choices), std::move(field));
}

ConfigKey Boolean(std::string name, Field<bool> field) {
  ConfigKey key = Choice<bool>(std::move(name), {{"true", true}, {"false", false}}, std::move(field));
  key.expected = "true or false (also yes or no, on or off)";
  return key;
}

}  // namespace fedalt
