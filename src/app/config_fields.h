// Building blocks of the key table: one function per kind of value, each giving a ConfigKey that reads, checks and writes it.
#pragma once

#include <charconv>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "app/config_keys.h"

namespace fedalt {

/// The whole of `text` as a number of type T; false (and `value` untouched) otherwise.
template <typename T>
bool FromChars(std::string_view text, T& value) {
  T parsed{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), parsed);
  if (error != std::errc() || end != text.data() + text.size()) return false;
  value = parsed;
  return true;
}

/// A map such as {instruction: question, output: answer}; false for anything else.
bool ReadFieldNames(const YamlNode& node, FieldNames& names);
/// The same map on one line.
std::string WriteFieldNames(const FieldNames& names);
inline constexpr char kExpectedFieldNames[] =
    "a map from some of instruction, input, output and tag to different names, such as {instruction: question, output: answer}";

/// Whether the value is `word`; for "on", "off", "true" and "false" any word that YAML 1.1 or 1.2 takes for the same.
bool IsWord(const YamlNode& node, std::string_view word);

/// The shortest text that reads back as the same number.
std::string NumberText(double value);

/// Where a value lives in the configuration.
template <typename T>
using Field = std::function<T&(RunConfig&)>;

/// A field read through a const configuration: accessors are written once, for reading and writing.
template <typename T>
const T& Get(const Field<T>& field, const RunConfig& config) {
  return field(const_cast<RunConfig&>(config));
}

/// Numbers between `low` and `high`; an open end is itself not allowed.
struct Range {
  double low = 0.0, high = 1.0;
  bool low_open = false, high_open = false;
  std::string Text() const;
  bool Contains(double value) const;
};

template <typename T>
using Choices = std::vector<std::pair<std::string, T>>;

ConfigKey Integer(std::string name, int64_t low, int64_t high, const Field<int64_t>& field);
ConfigKey Number(std::string name, Range range, const Field<double>& field);
ConfigKey Boolean(std::string name, Field<bool> field);
ConfigKey TextChoice(std::string name, const std::vector<std::string>& names, Field<std::string> field);

/// One word out of several, each standing for a value.
template <typename T>
ConfigKey Choice(std::string name, Choices<T> choices, Field<T> field) {
  std::string expected = "one of ";
  for (size_t i = 0; i < choices.size(); ++i) absl::StrAppend(&expected, i == 0 ? "" : ", ", choices[i].first);
  const auto read = [=](const YamlNode& node, RunConfig& config) {
    for (const auto& [text, value] : choices) {
      if (!IsWord(node, text)) continue;
      field(config) = value;
      return true;
    }
    return false;
  };
  const auto write = [=](const RunConfig& config) {
    for (const auto& [text, value] : choices) {
      if (Get(field, config) == value) return YamlQuote(text);
    }
    return std::string();
  };
  return {std::move(name), std::move(expected), read, write};
}

// Keys with a grammar of their own (config_special_keys.cc).
ConfigKey TemplateKey();
ConfigKey FieldsKey();
ConfigKey TargetModulesKey();
ConfigKey InitFromKey();
ConfigKey MetricsKey();
ConfigKey MixerKey();
ConfigKey GuardKey();
ConfigKey MaxNormKey();
ConfigKey ParticipationKey();
ConfigKey StepsKey();
ConfigKey BetasKey();
ConfigKey MaxLengthKey();
ConfigKey TooLongKey();
ConfigKey EvalBatchSizeKey();
ConfigKey SeedKey();
ConfigKey ThreadsKey();
ConfigKey SitesAtOnceKey();
ConfigKey KeepRoundsKey();
ConfigKey AllSitesKey();

inline constexpr int64_t kMaxRounds = 100'000;
inline constexpr int64_t kMaxSteps = 10'000'000;

}  // namespace fedalt
