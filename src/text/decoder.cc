#include "text/decoder.h"

#include <absl/strings/str_join.h>
#include <absl/strings/str_replace.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "text/byte_level.h"
#include "text/replace.h"
#include "text/utf8.h"

namespace fedalt {
namespace {

constexpr char kWhere[] = "decoder";
constexpr int64_t kStripLimit = 1 << 20;
constexpr char kReplacement[] = "\xEF\xBF\xBD";

class JoinDecoder : public Decoder {
 public:
  void Apply(std::vector<std::string>& tokens) const override { tokens = {absl::StrJoin(tokens, " ")}; }
};

class SequenceDecoder : public Decoder {
 public:
  explicit SequenceDecoder(std::vector<std::unique_ptr<Decoder>> parts) : parts_(std::move(parts)) {}
  void Apply(std::vector<std::string>& tokens) const override {
    for (const auto& part : parts_) part->Apply(tokens);
  }

 private:
  std::vector<std::unique_ptr<Decoder>> parts_;
};

class ByteLevelDecoder : public Decoder {
 public:
  void Apply(std::vector<std::string>& tokens) const override {
    std::string bytes;
    for (const std::string& token : tokens) {
      // A token with a character that stands for no byte (an added token) is taken as it is.
      const std::optional<std::string> decoded = CharactersToBytes(token);
      bytes += decoded ? *decoded : token;
    }
    tokens = {LossyUtf8(bytes)};
  }
};

class MetaspaceDecoder : public Decoder {
 public:
  MetaspaceDecoder(std::string replacement, bool prepends) : replacement_(std::move(replacement)), prepends_(prepends) {}
  void Apply(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) absl::StrReplaceAll({{replacement_, i == 0 && prepends_ ? "" : " "}}, &tokens[i]);
  }

 private:
  std::string replacement_;
  bool prepends_;
};

class ReplaceDecoder : public Decoder {
 public:
  explicit ReplaceDecoder(Replacement replacement) : replacement_(std::move(replacement)) {}
  void Apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) (void)replacement_.Apply(token);  // beyond the limits of matching a token stays as it is
  }

 private:
  Replacement replacement_;
};

/// Tokens <0xE4> become bytes; a run of them that is not valid UTF-8 as a whole becomes one U+FFFD per byte.
class ByteFallbackDecoder : public Decoder {
 public:
  void Apply(std::vector<std::string>& tokens) const override {
    std::vector<std::string> out;
    std::string bytes;
    const auto flush = [&] {
      if (bytes.empty()) return;
      if (!FirstInvalidUtf8(bytes)) {
        out.push_back(bytes);
      } else {
        out.insert(out.end(), bytes.size(), kReplacement);
      }
      bytes.clear();
    };
    for (std::string& token : tokens) {
      if (const std::optional<char> byte = ByteOf(token)) {
        bytes.push_back(*byte);
      } else {
        flush();
        out.push_back(std::move(token));
      }
    }
    flush();
    tokens = std::move(out);
  }

 private:
  static std::optional<char> ByteOf(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return std::nullopt;
    const auto digit = [](char c) {
      if (c >= '0' && c <= '9') return c - '0';
      if (c >= 'a' && c <= 'f') return c - 'a' + 10;
      return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    };
    // "+" is a sign to the original's number parser.
    const int high = token[3] == '+' ? 0 : digit(token[3]), low = digit(token[4]);
    if (high < 0 || low < 0) return std::nullopt;
    return static_cast<char>(static_cast<unsigned char>(high * 16 + low));
  }
};

class FuseDecoder : public Decoder {
 public:
  void Apply(std::vector<std::string>& tokens) const override { tokens = {absl::StrJoin(tokens, "")}; }
};

class StripDecoder : public Decoder {
 public:
  StripDecoder(std::string content, size_t start, size_t stop) : content_(std::move(content)), start_(start), stop_(stop) {}
  void Apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      std::string_view rest = token;
      for (size_t i = 0; i < start_ && rest.starts_with(content_); ++i) rest.remove_prefix(content_.size());
      for (size_t i = 0; i < stop_ && rest.ends_with(content_); ++i) rest.remove_suffix(content_.size());
      token = std::string(rest);
    }
  }

 private:
  std::string content_;  // one character
  size_t start_, stop_;
};

class SuffixDecoder : public Decoder {
 public:
  explicit SuffixDecoder(std::string suffix) : suffix_(std::move(suffix)) {}
  void Apply(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) absl::StrReplaceAll({{suffix_, i + 1 == tokens.size() ? "" : " "}}, &tokens[i]);
  }

 private:
  std::string suffix_;
};

StatusOr<std::unique_ptr<Decoder>> MakeSequence(const Json& json) {
  const Json* list = FindMember(json, "decoders");
  if (!list || !list->is_array()) return ModelError("decoder: a Sequence has no list 'decoders'");
  std::vector<std::unique_ptr<Decoder>> parts;
  for (const Json& part : *list) {
    if (part.is_null()) return ModelError("decoder: a Sequence holds null, expected decoders");
    ASSIGN_OR_RETURN(std::unique_ptr<Decoder> made, MakeDecoder(part));
    parts.push_back(std::move(made));
  }
  return std::make_unique<SequenceDecoder>(std::move(parts));
}

StatusOr<std::string> RequireCharacter(const Json& json, const char* name) {
  ASSIGN_OR_RETURN(std::string text, RequireString(json, name, kWhere));
  if (text.empty() || ReadUtf8(text).length != text.size())
    return ModelError(absl::StrCat("decoder: '", name, "' is '", Shown(text), "', expected one character"));
  return text;
}

}  // namespace

StatusOr<std::unique_ptr<Decoder>> MakeDecoder(const Json& json) {
  if (json.is_null()) return std::make_unique<JoinDecoder>();
  ASSIGN_OR_RETURN(const std::string type, RequireType(json, kWhere));
  if (type == "Sequence") return MakeSequence(json);
  if (type == "ByteLevel") return std::make_unique<ByteLevelDecoder>();
  if (type == "ByteFallback") return std::make_unique<ByteFallbackDecoder>();
  if (type == "Fuse") return std::make_unique<FuseDecoder>();
  if (type == "Metaspace") {
    ASSIGN_OR_RETURN(std::string replacement, RequireCharacter(json, "replacement"));
    ASSIGN_OR_RETURN(const bool legacy, OptionalBool(json, "add_prefix_space", true, kWhere));
    ASSIGN_OR_RETURN(const std::optional<std::string> scheme, OptionalString(json, "prepend_scheme", kWhere));
    return std::make_unique<MetaspaceDecoder>(std::move(replacement), legacy && scheme != "never");
  }
  if (type == "Replace") {
    ASSIGN_OR_RETURN(Replacement replacement, Replacement::FromJson(json, kWhere));
    return std::make_unique<ReplaceDecoder>(std::move(replacement));
  }
  if (type == "Strip") {
    ASSIGN_OR_RETURN(std::string content, RequireCharacter(json, "content"));
    ASSIGN_OR_RETURN(const int64_t start, RequireInt(json, "start", kStripLimit, kWhere));
    ASSIGN_OR_RETURN(const int64_t stop, RequireInt(json, "stop", kStripLimit, kWhere));
    return std::make_unique<StripDecoder>(std::move(content), static_cast<size_t>(start), static_cast<size_t>(stop));
  }
  if (type == "BPEDecoder") {
    ASSIGN_OR_RETURN(const std::optional<std::string> suffix, OptionalString(json, "suffix", kWhere));
    if (suffix == "")
      return ModelError("decoder: BPEDecoder has an empty suffix, which separates nothing; give one such as '</w>'");
    return std::make_unique<SuffixDecoder>(suffix.value_or("</w>"));
  }
  return ModelError(absl::StrCat("the decoder '", Shown(type), "' is not supported; ByteLevel, Metaspace, Sequence, Replace, ",
                                 "ByteFallback, Fuse, Strip and BPEDecoder are"));
}

}  // namespace fedalt
