#include "app/config_fields.h"

#include <cmath>

namespace fedalt {

bool ReadInteger(const YamlNode& node, int64_t& value) {
  return node.kind == YamlNode::Kind::kScalar && FromChars(node.text, value);
}

bool ReadNumber(const YamlNode& node, double& value) {
  double parsed = 0.0;
  if (node.kind != YamlNode::Kind::kScalar || !FromChars(node.text, parsed) || !std::isfinite(parsed)) return false;
  value = parsed;
  return true;
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
  return Choice<bool>(std::move(name), {{"true", true}, {"false", false}}, std::move(field));
}

}  // namespace fedalt
