#include "text/normalizer.h"

#include <utility>
#include <vector>

#include "text/replace.h"
#include "text/unicode_class.h"
#include "text/utf8.h"

namespace fedalt {
namespace {

constexpr char kWhere[] = "normalizer";

class SequenceNormalizer : public Normalizer {
 public:
  explicit SequenceNormalizer(std::vector<std::unique_ptr<Normalizer>> parts) : parts_(std::move(parts)) {}
  Status Apply(std::string& text) const override {
    for (const auto& part : parts_) RETURN_IF_ERROR(part->Apply(text));
    return absl::OkStatus();
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

class FormNormalizer : public Normalizer {
 public:
  explicit FormNormalizer(NormalForm form) : form_(form) {}
  Status Apply(std::string& text) const override {
    text = ToNormalForm(text, form_);
    return absl::OkStatus();
  }

 private:
  NormalForm form_;
};

class PrependNormalizer : public Normalizer {
 public:
  explicit PrependNormalizer(std::string prefix) : prefix_(std::move(prefix)) {}
  Status Apply(std::string& text) const override {
    if (!text.empty()) text.insert(0, prefix_);
    return absl::OkStatus();
  }

 private:
  std::string prefix_;
};

class ReplaceNormalizer : public Normalizer {
 public:
  explicit ReplaceNormalizer(Replacement replacement) : replacement_(std::move(replacement)) {}
  Status Apply(std::string& text) const override { return replacement_.Apply(text); }

 private:
  Replacement replacement_;
};

/// Applies a function to every character.
class CharacterNormalizer : public Normalizer {
 public:
  using Function = void (*)(char32_t, std::string&);
  explicit CharacterNormalizer(Function function) : function_(function) {}
  Status Apply(std::string& text) const override {
    std::string out;
    out.reserve(text.size());
    for (size_t i = 0; i < text.size();) function_(NextCodePoint(text, i), out);
    text = std::move(out);
    return absl::OkStatus();
  }

 private:
  Function function_;
};

class StripNormalizer : public Normalizer {
 public:
  StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
  Status Apply(std::string& text) const override {
    size_t begin = 0, end = text.size();
    while (left_ && begin < end) {
      size_t next = begin;
      if (!IsWhitespace(NextCodePoint(text, next))) break;
      begin = next;
    }
    while (right_ && end > begin) {
      size_t start = 0;
      if (!IsWhitespace(PreviousCodePoint(text, end, start))) break;
      end = start;
    }
    text = text.substr(begin, end - begin);
    return absl::OkStatus();
  }

 private:
  bool left_, right_;
};

StatusOr<std::unique_ptr<Normalizer>> MakeSequence(const Json& json) {
  const Json* list = FindMember(json, "normalizers");
  if (!list || !list->is_array()) return ModelError("normalizer: a Sequence has no list 'normalizers'");
  std::vector<std::unique_ptr<Normalizer>> parts;
  for (const Json& part : *list) {
    ASSIGN_OR_RETURN(std::unique_ptr<Normalizer> made, MakeNormalizer(part));
    parts.push_back(std::move(made));
  }
  return std::make_unique<SequenceNormalizer>(std::move(parts));
}

}  // namespace

StatusOr<std::unique_ptr<Normalizer>> MakeNormalizer(const Json& json) {
  if (json.is_null()) return std::make_unique<SequenceNormalizer>(std::vector<std::unique_ptr<Normalizer>>());
  ASSIGN_OR_RETURN(const std::string type, RequireType(json, kWhere));
  if (type == "Sequence") return MakeSequence(json);
  if (type == "NFC") return std::make_unique<FormNormalizer>(NormalForm::kNfc);
  if (type == "NFD") return std::make_unique<FormNormalizer>(NormalForm::kNfd);
  if (type == "NFKC") return std::make_unique<FormNormalizer>(NormalForm::kNfkc);
  if (type == "NFKD") return std::make_unique<FormNormalizer>(NormalForm::kNfkd);
  if (type == "Lowercase") return std::make_unique<CharacterNormalizer>(AppendLowerCase);
  if (type == "StripAccents") {
    return std::make_unique<CharacterNormalizer>([](char32_t c, std::string& out) {
      if (!IsCombiningMark(c)) AppendUtf8(c, out);
    });
  }
  if (type == "Prepend") {
    ASSIGN_OR_RETURN(std::string prefix, RequireString(json, "prepend", kWhere));
    return std::make_unique<PrependNormalizer>(std::move(prefix));
  }
  if (type == "Strip") {
    ASSIGN_OR_RETURN(const bool left, OptionalBool(json, "strip_left", true, kWhere));
    ASSIGN_OR_RETURN(const bool right, OptionalBool(json, "strip_right", true, kWhere));
    return std::make_unique<StripNormalizer>(left, right);
  }
  if (type == "Replace") {
    ASSIGN_OR_RETURN(Replacement replacement, Replacement::FromJson(json, kWhere));
    if (replacement.CanMatchEmpty())
      return ModelError(
          "normalizer: the pattern of Replace can match nothing, on which the original library fails; change the pattern");
    return std::make_unique<ReplaceNormalizer>(std::move(replacement));
  }
  return ModelError(absl::StrCat("the normalizer '", Shown(type), "' is not supported; Sequence, NFC, NFD, NFKC, NFKD, Prepend, ",
                                 "Replace, Lowercase, Strip and StripAccents are"));
}

}  // namespace fedalt
