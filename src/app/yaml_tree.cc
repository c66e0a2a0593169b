#include "app/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <exception>
#include <sstream>

#include "base/check.h"

namespace fedalt {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;
constexpr size_t kMaxNodes = 200'000;
constexpr size_t kMaxDepth = 16;
constexpr size_t kDescribedCharacters = 60;

// Builds the tree from yaml-cpp's events. A refusal is thrown as yaml-cpp's own exception, which stops its parser at once;
// ParseYaml catches both alike.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const std::string& source, bool number_lines) : source_(source), number_lines_(number_lines) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    if (WantsKey()) Refuse(mark, "a key is empty");
    Place(mark, YamlNode::Kind::kNull);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Refuse(mark, "an alias (*name) is not allowed in a configuration; write the value out");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, const std::string& value) override {
    RefuseTag(mark, tag);
    if (WantsKey()) {
      for (const auto& entry : open_.back().node->entries) {
        if (entry.first == value)
          Refuse(mark, absl::StrCat("the key \"", Shortened(value), "\" is given twice (first at ", entry.second.where, ")"));
      }
      open_.back().key = value;
      open_.back().has_key = true;
      return;
    }
    Place(mark, YamlNode::Kind::kScalar).text = value;
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, YAML::EmitterStyle::value) override {
    Open(mark, tag, YamlNode::Kind::kList);
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, YAML::EmitterStyle::value) override {
    Open(mark, tag, YamlNode::Kind::kMap);
  }
  void OnMapEnd() override { open_.pop_back(); }

  YamlNode Take() { return std::move(root_); }
  std::string WhereOf(const YAML::Mark& mark) const {
    return number_lines_ && mark.line >= 0 ? absl::StrCat(source_, ":", mark.line + 1) : source_;
  }
  static std::string Shortened(const std::string& text) {
    return text.size() <= kDescribedCharacters ? text : absl::StrCat(text.substr(0, kDescribedCharacters), "...");
  }

 private:
  // Pointers stay valid: a node gets no further siblings while it is open.
  struct OpenNode {
    YamlNode* node;
    std::string key;
    bool has_key = false;
  };

  [[noreturn]] static void Refuse(const YAML::Mark& mark, const std::string& message) {
    throw YAML::ParserException(mark, message);
  }

  static void RefuseTag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!")
      Refuse(mark, absl::StrCat("the tag \"", Shortened(tag), "\" is not allowed in a configuration"));
  }

  bool WantsKey() const { return !open_.empty() && open_.back().node->kind == YamlNode::Kind::kMap && !open_.back().has_key; }

  void Open(const YAML::Mark& mark, const std::string& tag, YamlNode::Kind kind) {
    RefuseTag(mark, tag);
    if (WantsKey()) Refuse(mark, "a key must be plain text, not a list or a map");
    if (open_.size() >= kMaxDepth) Refuse(mark, absl::StrCat("lists and maps are nested more than ", kMaxDepth, " deep"));
    open_.push_back({&Place(mark, kind), {}, false});
  }

  YamlNode& Place(const YAML::Mark& mark, YamlNode::Kind kind) {
    if (++nodes_ > kMaxNodes) Refuse(mark, absl::StrCat("more than ", kMaxNodes, " values"));
    YamlNode* node = &root_;
    if (!open_.empty()) {
      OpenNode& parent = open_.back();
      if (parent.node->kind == YamlNode::Kind::kList) {
        node = &parent.node->items.emplace_back();
      } else {
        node = &parent.node->entries.emplace_back(std::move(parent.key), YamlNode{}).second;
        parent.has_key = false;
      }
    }
    node->kind = kind;
    node->where = WhereOf(mark);
    return *node;
  }

  const std::string& source_;
  bool number_lines_;
  YamlNode root_;
  std::vector<OpenNode> open_;
  size_t nodes_ = 0;
};

bool PlainIsSafe(std::string_view text) {
  constexpr std::string_view kAlways = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_/";
  constexpr std::string_view kInside = ".-+";
  if (text.empty() || kAlways.find(text.front()) == std::string_view::npos) return false;
  if (text == "null" || text == "Null" || text == "NULL") return false;
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return kAlways.find(c) != std::string_view::npos || kInside.find(c) != std::string_view::npos;
  });
}

}  // namespace

const YamlNode* YamlNode::Find(std::string_view key) const {
  for (const auto& entry : entries) {
    if (entry.first == key) return &entry.second;
  }
  return nullptr;
}

YamlNode* YamlNode::Find(std::string_view key) {
  return const_cast<YamlNode*>(std::as_const(*this).Find(key));
}

std::string YamlNode::Describe() const {
  switch (kind) {
    case Kind::kNull:
      return "empty";
    case Kind::kScalar:
      return absl::StrCat("\"", TreeBuilder::Shortened(text), "\"");
    case Kind::kList: {
      std::string list;
      for (const YamlNode& item : items) {
        if (item.kind != Kind::kScalar) return absl::StrCat("a list of ", items.size());
        absl::StrAppend(&list, list.empty() ? "" : ", ", item.text);
      }
      return absl::StrCat("the list [", TreeBuilder::Shortened(list), "]");
    }
    case Kind::kMap:
      return "a map of keys";
  }
  return "unknown";
}

StatusOr<YamlNode> ParseYaml(std::string_view text, const std::string& source, bool number_lines) {
  if (text.size() > kMaxBytes) {
    return ConfigError(
        absl::StrCat(source, ": ", text.size(), " bytes; a configuration of at most ", kMaxBytes, " bytes was expected"));
  }
  if (text.find('\0') != std::string_view::npos)
    return ConfigError(absl::StrCat(source, ": contains a zero byte; a YAML text was expected"));
  TreeBuilder builder(source, number_lines);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) {
      YamlNode empty;
      empty.where = source;
      return empty;
    }
    YamlNode root = builder.Take();
    TreeBuilder rest(source, number_lines);
    if (parser.HandleNextDocument(rest))
      return ConfigError(absl::StrCat(source, ": holds more than one YAML document; one was expected"));
    return root;
  } catch (const YAML::Exception& error) {
    // The most likely reason here: {train: a_{site}.json}, where the inner braces begin a map.
    const bool braces = error.msg.find("flow") != std::string::npos && text.find("{site}") != std::string_view::npos;
    return ConfigError(
        absl::StrCat(builder.WhereOf(error.mark), ": ", error.msg, braces ? "; inside {...} a text with {site} needs quotes" : ""));
  } catch (const std::exception& error) {
    return ConfigError(absl::StrCat(source, ": not readable as YAML (", error.what(), ")"));
  }
}

std::string YamlQuote(std::string_view text) {
  if (PlainIsSafe(text)) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted.append({'\\', c});
    } else if (c == '\n') {
      quoted.append("\\n");
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      absl::StrAppendFormat(&quoted, "\\x%02x", static_cast<unsigned char>(c));
    } else {
      quoted.push_back(c);
    }
  }
  quoted.push_back('"');
  return quoted;
}

}  // namespace fedalt
