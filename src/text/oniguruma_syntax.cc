#include "text/oniguruma_syntax.h"

#include <absl/strings/ascii.h>

#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "text/oniguruma_sets.h"
#include "text/utf8.h"

namespace fedalt {
namespace {

constexpr size_t kNestingLimit = 50;

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  StatusOr<std::string> Run() {
    while (at_ < in_.size()) RETURN_IF_ERROR(Next());
    if (!groups_.empty()) return Refused("a group is not closed");
    return std::move(out_);
  }

 private:
  Status Refused(std::string_view what) const {
    return ModelError(absl::StrCat("the regular expression '", std::string(in_), "' is not supported: ", std::string(what),
                                   " (supported: sets, groups, alternatives, repeats and look-around of Oniguruma's syntax)"));
  }
  bool Ahead(std::string_view text) const { return in_.substr(at_).starts_with(text); }
  bool Skip(std::string_view text) {
    if (!Ahead(text)) return false;
    at_ += text.size();
    return true;
  }
  StatusOr<char32_t> TakeCharacter() {
    const Utf8Step step = ReadUtf8(in_.substr(at_));
    if (!step.valid) return Refused("it is not valid UTF-8");
    at_ += step.length;
    return step.code_point;
  }
  void Atom(std::string_view pcre) {
    atom_ = out_.size();
    repeated_ = false;
    out_ += pcre;
  }
  void NoAtom() { atom_.reset(); }

  Status Next();
  Status Escape();
  Status Group();
  Status Repeat(std::string quantifier, bool interval);
  Status Interval();
  StatusOr<CharacterSet> Property();
  StatusOr<char32_t> HexEscape();
  StatusOr<std::optional<char32_t>> CharacterEscape();
  StatusOr<CharacterSet> Class(size_t depth);
  Status ClassMember(CharacterSet& set, size_t depth);
  StatusOr<char32_t> RangeEnd();

  std::string_view in_;
  size_t at_ = 0;
  std::string out_;
  std::optional<size_t> atom_;  // where in out_ the thing starts that a repeat would repeat
  bool repeated_ = false;       // that thing has a repeat already
  std::vector<size_t> groups_;  // where in out_ each open group starts
};

Status Translator::Next() {
  const char c = in_[at_];
  switch (c) {
    case '\\':
      return Escape();
    case '(':
      return Group();
    case ')':
      if (groups_.empty()) return Refused("a ')' closes no group");
      ++at_;
      out_ += ')';
      atom_ = groups_.back();
      repeated_ = false;
      groups_.pop_back();
      return absl::OkStatus();
    case '[': {
      ++at_;
      ASSIGN_OR_RETURN(const CharacterSet set, Class(0));
      Atom(set.Pcre());
      return absl::OkStatus();
    }
    case '*':
    case '+':
    case '?':
      ++at_;
      return Repeat(std::string(1, c), false);
    case '{':
      return Interval();
    case '|':
    case '^':
    case '$':
      ++at_;
      out_ += c;
      NoAtom();
      return absl::OkStatus();
    case '.':
      ++at_;
      Atom(".");
      return absl::OkStatus();
    default: {
      ASSIGN_OR_RETURN(const char32_t character, TakeCharacter());
      Atom(PcreCharacter(character));
      return absl::OkStatus();
    }
  }
}

Status Translator::Repeat(std::string quantifier, bool interval) {
  if (!atom_) return Refused("a repeat has nothing to repeat");
  if (repeated_) {  // Oniguruma repeats the repeat; PCRE2 would read the second sign as lazy or possessive
    out_.insert(*atom_, "(?:");
    out_ += ')';
  }
  // After an interval, '+' repeats again, and so does '?' after {n}; see Interval.
  if (!interval && (Ahead("?") || Ahead("+"))) quantifier += in_[at_++];
  out_ += quantifier;
  repeated_ = true;
  return absl::OkStatus();
}

Status Translator::Interval() {
  size_t i = at_ + 1;
  const auto number = [&]() -> std::optional<int> {
    const size_t start = i;
    int value = 0;
    while (i < in_.size() && absl::ascii_isdigit(static_cast<unsigned char>(in_[i])) && i - start < 6)
      value = value * 10 + (in_[i++] - '0');
    return i > start ? std::optional<int>(value) : std::nullopt;
  };
  const std::optional<int> low = number();
  const bool comma = i < in_.size() && in_[i] == ',';
  if (comma) ++i;
  const std::optional<int> high = comma ? number() : low;
  if (i >= in_.size() || in_[i] != '}' || (!low && !high)) {  // not an interval: a brace
    ++at_;
    Atom("\\{");
    return absl::OkStatus();
  }
  if (low && high && *low > *high) return Refused("an interval counts down");
  at_ = i + 1;
  std::string quantifier = absl::StrCat("{", low.value_or(0), comma ? "," : "", comma && high ? absl::StrCat(*high) : "", "}");
  if (comma && Ahead("?")) {
    ++at_;
    quantifier += '?';
  }
  return Repeat(std::move(quantifier), true);
}

Status Translator::Group() {
  if (groups_.size() >= kNestingLimit) return Refused("its groups are nested too deeply");
  const size_t start = out_.size();
  ++at_;
  if (!Skip("?")) {
    out_ += "(?:";
  } else {
    static constexpr std::array<std::string_view, 6> kSame = {":", "=", "!", "<=", "<!", ">"};
    std::string_view found;
    for (std::string_view kind : kSame)
      if (found.empty() && Skip(kind)) found = kind;
    if (!found.empty()) {
      absl::StrAppend(&out_, "(?", std::string(found));
    } else {
      std::string options;
      while (at_ < in_.size() && (Ahead("i") || Ahead("m") || Ahead("-"))) {
        options += in_[at_] == 'm' ? 's' : in_[at_];
        ++at_;
      }
      if (options.empty() || (!Ahead(":") && !Ahead(")"))) return Refused("it has a group of an unknown kind '(?'");
      if (Skip(")")) {
        // In the middle of a pattern the two libraries disagree about the alternatives that follow.
        if (start != 0) return Refused("it changes options in the middle");
        absl::StrAppend(&out_, "(?", options, ")");
        NoAtom();
        return absl::OkStatus();
      }
      ++at_;
      absl::StrAppend(&out_, "(?", options, ":");
    }
  }
  groups_.push_back(start);
  NoAtom();
  return absl::OkStatus();
}

StatusOr<char32_t> Translator::HexEscape() {
  // Behind \x or \u, which are consumed.
  const bool unicode = in_[at_ - 1] == 'u';
  const bool braces = !unicode && Skip("{");
  const size_t most = unicode ? 4 : braces ? 8 : 2;
  uint32_t value = 0;
  size_t count = 0;
  while (at_ < in_.size() && count < most && HexValue(in_[at_]) >= 0) {
    value = value * 16 + static_cast<uint32_t>(HexValue(in_[at_++]));
    ++count;
  }
  if (count == 0 || (unicode && count != 4) || (braces && !Skip("}"))) return Refused("a hexadecimal escape is incomplete");
  if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000) || (!unicode && !braces && value > 0x7F))
    return Refused("a hexadecimal escape is no character");
  return static_cast<char32_t>(value);
}

/// At a backslash: an escape that means one character, or nothing (and nothing consumed).
StatusOr<std::optional<char32_t>> Translator::CharacterEscape() {
  if (at_ + 1 >= in_.size()) return Refused("it ends in a backslash");
  const char c = in_[at_ + 1];
  constexpr std::string_view kLetters = "tnrfvae", kMeanings = "\t\n\r\f\v\a\x1B";
  if (const size_t index = kLetters.find(c); index != std::string_view::npos) {
    at_ += 2;
    return static_cast<char32_t>(kMeanings[index]);
  }
  if (c == 'x' || c == 'u') {
    at_ += 2;
    ASSIGN_OR_RETURN(const char32_t value, HexEscape());
    return value;
  }
  if (absl::ascii_isalnum(static_cast<unsigned char>(c))) return std::optional<char32_t>();
  ++at_;
  ASSIGN_OR_RETURN(const char32_t literal, TakeCharacter());
  return literal;
}

/// At \p or \P.
StatusOr<CharacterSet> Translator::Property() {
  bool negated = in_[at_ + 1] == 'P';
  at_ += 2;
  if (!Skip("{")) return Refused("\\p is not followed by a name in braces");
  if (Skip("^")) negated = !negated;
  const size_t end = in_.find('}', at_);
  if (end == std::string_view::npos) return Refused("the name of a property is not closed");
  const std::string_view name = in_.substr(at_, end - at_);
  at_ = end + 1;
  std::optional<CharacterSet> set = PropertySet(name);
  if (!set) return Refused(absl::StrCat("the property '", std::string(name), "' is not known"));
  if (negated) set->negated = !set->negated;
  return *std::move(set);
}

Status Translator::Escape() {
  ASSIGN_OR_RETURN(const std::optional<char32_t> character, CharacterEscape());
  if (character) {
    Atom(PcreCharacter(*character));
    return absl::OkStatus();
  }
  const char c = in_[at_ + 1];
  if (c == 'p' || c == 'P') {
    ASSIGN_OR_RETURN(const CharacterSet set, Property());
    Atom(set.Pcre());
    return absl::OkStatus();
  }
  at_ += 2;
  if (const std::optional<CharacterSet> set = EscapeSet(c, /*in_class=*/false)) {
    Atom(set->Pcre());
    return absl::OkStatus();
  }
  if (c == 'A' || c == 'z' || c == 'Z') {
    absl::StrAppend(&out_, "\\", std::string(1, c));
    NoAtom();
    return absl::OkStatus();
  }
  switch (c) {
    case 'b':
    case 'B': {
      const std::string word = EscapeSet('w', /*in_class=*/false)->Pcre();
      absl::StrAppend(&out_, "(?:(?<=", word, c == 'b' ? ")(?!" : ")(?=", word, ")|(?<!", word, c == 'b' ? ")(?=" : ")(?!", word,
                      "))");
      NoAtom();
      return absl::OkStatus();
    }
    case 'R':
      Atom("(?>\\r\\n|[\\n-\\r\\x{85}\\x{2028}\\x{2029}])");
      return absl::OkStatus();
    case 'N':
      Atom("[^\\n]");
      return absl::OkStatus();
    case 'O':
      Atom("(?s:.)");
      return absl::OkStatus();
    default:
      return Refused(absl::StrCat("the escape '\\", std::string(1, c), "' is not known"));
  }
}

StatusOr<char32_t> Translator::RangeEnd() {
  if (at_ >= in_.size() || in_[at_] == '[') return Refused("a range in a class has no end");
  if (in_[at_] == '\\') {
    ASSIGN_OR_RETURN(const std::optional<char32_t> escaped, CharacterEscape());
    if (!escaped) return Refused("a range in a class ends in a set");
    return *escaped;
  }
  return TakeCharacter();
}

Status Translator::ClassMember(CharacterSet& set, size_t depth) {
  if (Ahead("[:")) {
    const size_t end = in_.find(":]", at_);
    if (end != std::string_view::npos && end - at_ < 12) {
      const std::string_view name = in_.substr(at_ + 2, end - at_ - 2);
      const std::optional<CharacterSet> posix = PosixSet(name);
      if (!posix) return Refused(absl::StrCat("the bracket '[:", std::string(name), ":]' is not known"));
      at_ = end + 2;
      set.Add(*posix);
      return absl::OkStatus();
    }
  }
  if (Skip("[")) {
    ASSIGN_OR_RETURN(const CharacterSet inner, Class(depth + 1));
    set.Add(inner);
    return absl::OkStatus();
  }
  char32_t first = 0;
  if (in_[at_] == '\\') {
    if (Ahead("\\p") || Ahead("\\P")) {
      ASSIGN_OR_RETURN(const CharacterSet property, Property());
      set.Add(property);
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const std::optional<char32_t> escaped, CharacterEscape());
    if (!escaped) {
      const std::optional<CharacterSet> shorthand = in_[at_ + 1] == 'b' ? std::nullopt : EscapeSet(in_[at_ + 1], /*in_class=*/true);
      if (!shorthand) return Refused(absl::StrCat("the escape '\\", std::string(1, in_[at_ + 1]), "' in a class is not known"));
      at_ += 2;
      set.Add(*shorthand);
      return absl::OkStatus();
    }
    first = *escaped;
  } else {
    ASSIGN_OR_RETURN(first, TakeCharacter());
  }
  if (Ahead("-") && !Ahead("-]")) {
    ++at_;
    ASSIGN_OR_RETURN(const char32_t last, RangeEnd());
    if (last < first) return Refused("a range in a class is empty");
    absl::StrAppend(&set.items, PcreCharacter(first), "-", PcreCharacter(last));
  } else {
    set.items += PcreCharacter(first);
  }
  return absl::OkStatus();
}

/// Behind the opening bracket.
StatusOr<CharacterSet> Translator::Class(size_t depth) {
  if (depth > kNestingLimit) return Refused("its classes are nested too deeply");
  const bool negated = Skip("^");
  if (Ahead("]")) return Refused("a class is empty");
  CharacterSet set;
  std::string conditions;  // of the intersections so far
  while (!Ahead("]")) {
    if (at_ >= in_.size()) return Refused("a class is not closed");
    if (Skip("&&")) {
      if (set.IsEmpty() || Ahead("]")) return Refused("a side of an intersection is empty");
      absl::StrAppend(&conditions, "(?=", set.Pcre(), ")");
      set = CharacterSet();
      continue;
    }
    RETURN_IF_ERROR(ClassMember(set, depth));
  }
  ++at_;
  if (!conditions.empty()) {
    CharacterSet intersection;
    intersection.alternatives.push_back(absl::StrCat(conditions, set.Pcre()));
    set = std::move(intersection);
  }
  set.negated = negated;
  return set;
}

}  // namespace

StatusOr<std::string> PcreFromOniguruma(std::string_view pattern) {
  return Translator(pattern).Run();
}

std::string PcreFromLiteral(std::string_view text) {
  std::string pcre;
  for (size_t i = 0; i < text.size();) pcre += PcreCharacter(NextCodePoint(text, i));
  return pcre;
}

}  // namespace fedalt
