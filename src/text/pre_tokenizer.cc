#include "text/pre_tokenizer.h"

#include <absl/strings/str_replace.h>

#include <utility>

#include "base/check.h"
#include "text/byte_level.h"
#include "text/regex.h"
#include "text/replace.h"
#include "text/split.h"
#include "text/unicode_class.h"
#include "text/utf8.h"

namespace fedalt {
namespace {

constexpr char kWhere[] = "pre_tokenizer";
constexpr char kGpt2Pattern[] = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

void AppendParts(const Piece& piece, const std::vector<Span>& parts, std::vector<Piece>& out) {
  for (const auto& [begin, end] : parts)
    if (begin < end) out.push_back({piece.text.substr(begin, end - begin), piece.at_start && begin == 0});
}

class SequencePreTokenizer : public PreTokenizer {
 public:
  explicit SequencePreTokenizer(std::vector<std::unique_ptr<PreTokenizer>> parts) : parts_(std::move(parts)) {}
  Status Apply(std::vector<Piece>& pieces) const override {
    for (const auto& part : parts_) RETURN_IF_ERROR(part->Apply(pieces));
    return absl::OkStatus();
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> parts_;
};

class ByteLevelPreTokenizer : public PreTokenizer {
 public:
  ByteLevelPreTokenizer(bool add_prefix_space, bool use_regex) : add_prefix_space_(add_prefix_space), use_regex_(use_regex) {}

  Status Apply(std::vector<Piece>& pieces) const override {
    std::vector<Piece> out;
    for (Piece& piece : pieces) {
      if (add_prefix_space_ && !piece.text.starts_with(' ')) piece.text = absl::StrCat(" ", piece.text);
      if (!use_regex_) {
        out.push_back(std::move(piece));
        continue;
      }
      ASSIGN_OR_RETURN(const std::vector<Span> matches, Pattern().FindAll(piece.text));
      AppendParts(piece, SplitAt(piece.text.size(), matches, SplitBehavior::kIsolated, false), out);
    }
    for (Piece& piece : out) piece.text = BytesToCharacters(piece.text);
    pieces = std::move(out);
    return absl::OkStatus();
  }

 private:
  static const Regex& Pattern() {
    static const StatusOr<Regex> regex = Regex::FromOniguruma(kGpt2Pattern);
    FEDALT_CHECK(regex.ok(), "GPT-2's pattern compiles");
    return *regex;
  }
  bool add_prefix_space_, use_regex_;
};

class MetaspacePreTokenizer : public PreTokenizer {
 public:
  enum class Prepend { kAlways, kFirst, kNever };
  MetaspacePreTokenizer(std::string replacement, Prepend prepend, bool split)
      : replacement_(std::move(replacement)), prepend_(prepend), split_(split) {}

  Status Apply(std::vector<Piece>& pieces) const override {
    std::vector<Piece> out;
    for (Piece& piece : pieces) {
      absl::StrReplaceAll({{" ", replacement_}}, &piece.text);
      const bool prepend = prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && piece.at_start);
      if (prepend && !piece.text.starts_with(replacement_)) piece.text = absl::StrCat(replacement_, piece.text);
      if (!split_) {
        out.push_back(std::move(piece));
        continue;
      }
      std::vector<Span> matches;
      for (size_t at = 0; (at = piece.text.find(replacement_, at)) != std::string::npos; at += replacement_.size())
        matches.emplace_back(at, at + replacement_.size());
      AppendParts(piece, SplitAt(piece.text.size(), matches, SplitBehavior::kMergedWithNext, false), out);
    }
    pieces = std::move(out);
    return absl::OkStatus();
  }

 private:
  std::string replacement_;  // one character
  Prepend prepend_;
  bool split_;
};

class RegexPreTokenizer : public PreTokenizer {
 public:
  RegexPreTokenizer(Regex regex, SplitBehavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}
  Status Apply(std::vector<Piece>& pieces) const override {
    std::vector<Piece> out;
    for (const Piece& piece : pieces) {
      ASSIGN_OR_RETURN(const std::vector<Span> matches, regex_.FindAll(piece.text));
      AppendParts(piece, SplitAt(piece.text.size(), matches, behavior_, invert_), out);
    }
    pieces = std::move(out);
    return absl::OkStatus();
  }

 private:
  Regex regex_;
  SplitBehavior behavior_;
  bool invert_;
};

/// Cuts at every character of a class.
class CharacterPreTokenizer : public PreTokenizer {
 public:
  using Predicate = bool (*)(char32_t);
  CharacterPreTokenizer(Predicate predicate, SplitBehavior behavior) : predicate_(predicate), behavior_(behavior) {}
  Status Apply(std::vector<Piece>& pieces) const override {
    std::vector<Piece> out;
    for (const Piece& piece : pieces) {
      std::vector<Span> matches;
      for (size_t i = 0; i < piece.text.size();) {
        const size_t start = i;
        if (predicate_(NextCodePoint(piece.text, i))) matches.emplace_back(start, i);
      }
      AppendParts(piece, SplitAt(piece.text.size(), matches, behavior_, false), out);
    }
    pieces = std::move(out);
    return absl::OkStatus();
  }

 private:
  Predicate predicate_;
  SplitBehavior behavior_;
};

/// \w+|[^\w\s]+ : runs of word characters and runs of other visible ones.
class WhitespacePreTokenizer : public PreTokenizer {
 public:
  Status Apply(std::vector<Piece>& pieces) const override {
    std::vector<Piece> out;
    for (const Piece& piece : pieces) {
      std::vector<Span> parts;
      int previous = 0;  // 0 space, 1 word, 2 other
      for (size_t i = 0; i < piece.text.size();) {
        const size_t start = i;
        const char32_t c = NextCodePoint(piece.text, i);
        const int kind = IsWordCharacter(c) ? 1 : IsWhitespace(c) ? 0 : 2;
        if (kind != 0 && kind == previous) {
          parts.back().second = i;
        } else if (kind != 0) {
          parts.emplace_back(start, i);
        }
        previous = kind;
      }
      AppendParts(piece, parts, out);
    }
    pieces = std::move(out);
    return absl::OkStatus();
  }
};

StatusOr<SplitBehavior> BehaviorFrom(const Json& json, const char* otherwise) {
  ASSIGN_OR_RETURN(const std::optional<std::string> name, OptionalString(json, "behavior", kWhere));
  const std::optional<SplitBehavior> behavior = SplitBehaviorNamed(name.value_or(otherwise));
  if (!behavior) {
    return ModelError(absl::StrCat("pre_tokenizer: the behavior '", Shown(name.value_or(otherwise)),
                                   "' is not known; Removed, Isolated, ", "MergedWithPrevious, MergedWithNext and Contiguous are"));
  }
  return *behavior;
}

StatusOr<std::unique_ptr<PreTokenizer>> MakeSequence(const Json& json) {
  const Json* list = FindMember(json, "pretokenizers");
  if (!list || !list->is_array()) return ModelError("pre_tokenizer: a Sequence has no list 'pretokenizers'");
  std::vector<std::unique_ptr<PreTokenizer>> parts;
  for (const Json& part : *list) {
    ASSIGN_OR_RETURN(std::unique_ptr<PreTokenizer> made, MakePreTokenizer(part));
    parts.push_back(std::move(made));
  }
  return std::make_unique<SequencePreTokenizer>(std::move(parts));
}

StatusOr<std::unique_ptr<PreTokenizer>> MakeMetaspace(const Json& json) {
  using Prepend = MetaspacePreTokenizer::Prepend;
  ASSIGN_OR_RETURN(const std::string replacement, RequireString(json, "replacement", kWhere));
  if (replacement.empty() || ReadUtf8(replacement).length != replacement.size())
    return ModelError(
        absl::StrCat("pre_tokenizer: Metaspace replaces spaces by '", Shown(replacement), "', expected one character"));
  ASSIGN_OR_RETURN(const bool split, OptionalBool(json, "split", true, kWhere));
  // Files of before 2024 say add_prefix_space where newer ones have prepend_scheme.
  ASSIGN_OR_RETURN(const bool legacy, OptionalBool(json, "add_prefix_space", true, kWhere));
  ASSIGN_OR_RETURN(const std::optional<std::string> scheme, OptionalString(json, "prepend_scheme", kWhere));
  Prepend prepend = Prepend::kAlways;
  if (scheme == "first") {
    prepend = Prepend::kFirst;
  } else if (scheme == "never" || (!scheme && !legacy)) {
    prepend = Prepend::kNever;
  } else if (scheme && scheme != "always") {
    return ModelError(
        absl::StrCat("pre_tokenizer: the prepend_scheme '", Shown(*scheme), "' is not known; always, first and never are"));
  }
  if (!legacy && scheme && prepend != Prepend::kNever)
    return ModelError(
        "pre_tokenizer: Metaspace has add_prefix_space false and a prepend_scheme other than never; remove one of them");
  return std::make_unique<MetaspacePreTokenizer>(replacement, prepend, split);
}

}  // namespace

std::unique_ptr<PreTokenizer> MakeByteLevelPreTokenizer(bool add_prefix_space, bool use_regex) {
  return std::make_unique<ByteLevelPreTokenizer>(add_prefix_space, use_regex);
}

StatusOr<std::unique_ptr<PreTokenizer>> MakePreTokenizer(const Json& json) {
  if (json.is_null()) return std::make_unique<SequencePreTokenizer>(std::vector<std::unique_ptr<PreTokenizer>>());
  ASSIGN_OR_RETURN(const std::string type, RequireType(json, kWhere));
  if (type == "Sequence") return MakeSequence(json);
  if (type == "Metaspace") return MakeMetaspace(json);
  if (type == "Whitespace") return std::make_unique<WhitespacePreTokenizer>();
  if (type == "WhitespaceSplit") return std::make_unique<CharacterPreTokenizer>(IsWhitespace, SplitBehavior::kRemoved);
  if (type == "ByteLevel") {
    ASSIGN_OR_RETURN(const bool add_prefix_space, OptionalBool(json, "add_prefix_space", true, kWhere));
    ASSIGN_OR_RETURN(const bool use_regex, OptionalBool(json, "use_regex", true, kWhere));
    return MakeByteLevelPreTokenizer(add_prefix_space, use_regex);
  }
  if (type == "Split") {
    ASSIGN_OR_RETURN(Regex regex, PatternFromJson(json, kWhere));
    ASSIGN_OR_RETURN(const SplitBehavior behavior, BehaviorFrom(json, ""));
    ASSIGN_OR_RETURN(const bool invert, OptionalBool(json, "invert", false, kWhere));
    return std::make_unique<RegexPreTokenizer>(std::move(regex), behavior, invert);
  }
  if (type == "Digits") {
    ASSIGN_OR_RETURN(const bool individual, OptionalBool(json, "individual_digits", false, kWhere));
    return std::make_unique<CharacterPreTokenizer>(IsNumeric, individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  if (type == "Punctuation") {
    ASSIGN_OR_RETURN(const SplitBehavior behavior, BehaviorFrom(json, "Isolated"));
    return std::make_unique<CharacterPreTokenizer>(IsPunctuation, behavior);
  }
  return ModelError(absl::StrCat("the pre-tokenizer '", Shown(type), "' is not supported; Sequence, ByteLevel, Metaspace, Split, ",
                                 "Digits, Punctuation, Whitespace and WhitespaceSplit are"));
}

}  // namespace fedalt
