#include "app/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <exception>
#include <optional>
#include <sstream>

#include "base/check.h"

namespace fedalt {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;
constexpr size_t kMaxNodes = 200'000;
constexpr size_t kMaxDepth = 16;
constexpr size_t kDescribedCharacters = 60;

std::vector<std::string_view> LinesOf(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

/// The first line up to `last` that is indented by a tab.
std::optional<int> TabbedLine(std::string_view text, int last) {
  const std::vector<std::string_view> lines = LinesOf(text);
  for (int line = 0; line <= last && line < static_cast<int>(lines.size()); ++line) {
    const std::string_view content = lines[static_cast<size_t>(line)];
    const size_t indented = content.find_first_not_of(" \t\r");
    if (indented != content.npos && content.substr(0, indented).find('\t') != content.npos) return line;
  }
  return std::nullopt;
}

// Builds the tree from yaml-cpp's events. A refusal is thrown as yaml-cpp's own exception, which stops its parser at once;
// ParseYaml catches both alike.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view text, const std::string& source, bool number_lines)
      : text_(text), lines_(LinesOf(text)), source_(source), number_lines_(number_lines) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    if (WantsKey()) Refuse(mark, "a key is empty");
    // yaml-cpp notices that a value is empty where the next one begins.
    const bool in_list = !open_.empty() && open_.back().node->kind == YamlNode::Kind::kList && !open_.back().in_brackets;
    Place(in_list ? EmptyItemBefore(mark) : mark, YamlNode::Kind::kNull);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Refuse(mark, "an alias (*name) is not allowed in a configuration; write the value out");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, const std::string& value) override {
    RefuseTag(mark, tag);
    if (!QuoteEnds(mark)) Refuse(mark, "the quote that begins here has no end");
    if (WantsKey()) {
      for (const auto& entry : open_.back().node->entries) {
        if (entry.first == value)
          Refuse(mark, absl::StrCat("the key \"", Shortened(value), "\" is given twice (first at ", entry.second.where, ")"));
      }
      open_.back().key = value;
      open_.back().key_mark = mark;
      open_.back().has_key = true;
      return;
    }
    Place(mark, YamlNode::Kind::kScalar).text = value;
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, YAML::EmitterStyle::value style) override {
    Open(mark, tag, YamlNode::Kind::kList, style == YAML::EmitterStyle::Flow);
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, YAML::EmitterStyle::value style) override {
    Open(mark, tag, YamlNode::Kind::kMap, style == YAML::EmitterStyle::Flow);
  }
  void OnMapEnd() override { open_.pop_back(); }

  YamlNode Take() { return std::move(root_); }
  std::string WhereOf(const YAML::Mark& mark) const {
    return number_lines_ && mark.line >= 0 ? absl::StrCat(source_, ":", mark.line + 1) : source_;
  }
  /// Where the innermost list or map in brackets begins that is still open; empty if there is none.
  std::string OpenBracket() const { return open_.empty() || !open_.back().in_brackets ? std::string() : open_.back().node->where; }
  static std::string Shortened(const std::string& text) {
    return text.size() <= kDescribedCharacters ? text : absl::StrCat(text.substr(0, kDescribedCharacters), "...");
  }

 private:
  // Pointers stay valid: a node gets no further siblings while it is open.
  struct OpenNode {
    YamlNode* node;
    bool in_brackets = false;
    std::string key = {};
    YAML::Mark key_mark = {};
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

  /// yaml-cpp takes a quote that never ends for one that ends with the text.
  bool QuoteEnds(const YAML::Mark& mark) const {
    if (mark.line < 0 || static_cast<size_t>(mark.line) >= lines_.size()) return true;
    const std::string_view line = lines_[static_cast<size_t>(mark.line)];
    if (mark.column < 0 || static_cast<size_t>(mark.column) >= line.size()) return true;
    const std::string_view rest = text_.substr(static_cast<size_t>(line.data() - text_.data()) + static_cast<size_t>(mark.column));
    const char quote = rest[0];
    if (quote != '"' && quote != '\'') return true;
    for (size_t i = 1; i < rest.size(); ++i) {
      if (quote == '"' && rest[i] == '\\')
        ++i;  // in '...' a quote is doubled, which is an end and a beginning
      else if (rest[i] == quote)
        return true;
    }
    return false;
  }

  /// The "-" with nothing behind it that comes last before `mark`.
  YAML::Mark EmptyItemBefore(YAML::Mark mark) const {
    for (int line = std::min(mark.line, static_cast<int>(lines_.size()) - 1); line >= 0; --line) {
      std::string_view content = lines_[static_cast<size_t>(line)];
      content = content.substr(0, content.find(" #"));
      while (content.ends_with(' ') || content.ends_with('\r')) content.remove_suffix(1);
      if (!content.ends_with('-')) continue;
      mark.line = line;
      return mark;
    }
    return mark;
  }

  void Open(const YAML::Mark& mark, const std::string& tag, YamlNode::Kind kind, bool in_brackets) {
    RefuseTag(mark, tag);
    if (WantsKey()) Refuse(mark, "a key must be plain text, not a list or a map");
    if (open_.size() >= kMaxDepth) Refuse(mark, absl::StrCat("lists and maps are nested more than ", kMaxDepth, " deep"));
    open_.push_back({&Place(mark, kind), in_brackets});
  }

  YamlNode& Place(const YAML::Mark& mark, YamlNode::Kind kind) {
    if (++nodes_ > kMaxNodes) Refuse(mark, absl::StrCat("more than ", kMaxNodes, " values"));
    YamlNode* node = &root_;
    YAML::Mark place = mark;
    if (!open_.empty()) {
      OpenNode& parent = open_.back();
      if (parent.node->kind == YamlNode::Kind::kList) {
        node = &parent.node->items.emplace_back();
      } else {
        node = &parent.node->entries.emplace_back(std::move(parent.key), YamlNode{}).second;
        parent.has_key = false;
        place = parent.key_mark;  // a value may begin on a later line, and an empty one where the next begins
      }
    }
    node->kind = kind;
    node->where = WhereOf(place);
    return *node;
  }

  std::string_view text_;
  std::vector<std::string_view> lines_;
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

namespace {

/// The most likely reason of brackets without an end: {train: a_{site}.json}, where the inner braces begin a map.
const char* BracesAdvice(std::string_view text) {
  return text.find("{site}") != text.npos ? "; inside {...} a text with {site} needs quotes" : "";
}

std::string PlainWords(const std::string& message) {
  if (message == "illegal map value")
    return "a ':' where no key can stand; the keys of a map begin in the same column, and a text with \": \" in it needs quotes";
  if (message == "unknown token") return "a text that begins with this sign needs quotes";
  if (message.starts_with("end of map not found") || message.starts_with("end of sequence not found"))
    return "no key or list entry where one was expected; is a quote missing, or the line indented wrongly?";
  return message;
}

/// What yaml-cpp found, in words for whoever wrote the text.
Status SyntaxError(const YAML::Exception& error, const TreeBuilder& builder, std::string_view text) {
  YAML::Mark mark = error.mark;
  if (const auto tabbed = TabbedLine(text, mark.line)) {
    mark.line = *tabbed;
    return ConfigError(absl::StrCat(builder.WhereOf(mark), ": the line begins with a tab; YAML is indented by blanks only"));
  }
  const bool unclosed = error.msg.starts_with("end of ");  // "end of sequence flow not found"
  if (const std::string begin = builder.OpenBracket(); unclosed && !begin.empty())
    return ConfigError(absl::StrCat(begin, ": what begins here in brackets has no end; expected ] or }", BracesAdvice(text)));
  return ConfigError(absl::StrCat(builder.WhereOf(mark), ": ", PlainWords(error.msg), unclosed ? BracesAdvice(text) : ""));
}

}  // namespace

StatusOr<YamlNode> ParseYaml(std::string_view text, const std::string& source, bool number_lines) {
  if (text.size() > kMaxBytes) {
    return ConfigError(
        absl::StrCat(source, ": ", text.size(), " bytes; a configuration of at most ", kMaxBytes, " bytes was expected"));
  }
  if (text.find('\0') != std::string_view::npos)
    return ConfigError(absl::StrCat(source, ": contains a zero byte; a YAML text was expected"));
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // the mark of UTF-8 would shift the columns of the first line
  TreeBuilder builder(text, source, number_lines);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) {
      YamlNode empty;
      empty.where = source;
      return empty;
    }
    YamlNode root = builder.Take();
    TreeBuilder rest(text, source, number_lines);
    if (parser.HandleNextDocument(rest))
      return ConfigError(absl::StrCat(source, ": holds more than one YAML document; one was expected"));
    return root;
  } catch (const YAML::Exception& error) {
    return SyntaxError(error, builder, text);
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
