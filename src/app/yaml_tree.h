// A YAML text as a plain tree, each node knowing the place it came from, so that every message can name a line.
//
// Stricter than YAML: no duplicate keys, no aliases, no tags, one document, bounded size and depth. Nothing of yaml-cpp is visible
// here and none of its exceptions leaves ParseYaml.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace fedalt {

struct YamlEntry;

struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  std::string where;               ///< "config.yaml:12", or the override that set it
  std::string text;                ///< of a scalar, as written (without quotes)
  std::vector<YamlNode> items;     ///< of a list
  std::vector<YamlEntry> entries;  ///< of a map, in the order of the text; keys are distinct

  /// The entry `key` of a map, or null.
  const YamlNode* Find(std::string_view key) const;
  YamlNode* Find(std::string_view key);
  /// The value in a few words for a message: its text, "a list of 3", ...
  std::string Describe() const;
};

struct YamlEntry {
  YamlEntry(std::string key, YamlNode value) : first(std::move(key)), second(std::move(value)) {}
  std::string first;  ///< the key
  YamlNode second;    ///< its value
};

/// Parses one document. `source` names it in messages and in YamlNode::where; with `number_lines` the line is added.
/// An empty document is a kNull node. Errors: kConfig, with the line.
StatusOr<YamlNode> ParseYaml(std::string_view text, const std::string& source, bool number_lines = true);

/// `text` as a YAML scalar that reads back as the same text: plain where that is safe, else double-quoted.
std::string YamlQuote(std::string_view text);

}  // namespace fedalt
