#include "text/replace.h"

#include <absl/strings/str_replace.h>

#include <vector>

namespace fedalt {

StatusOr<Regex> PatternFromJson(const Json& object, std::string_view where) {
  const Json* pattern = FindMember(object, "pattern");
  if (pattern && pattern->is_string()) return Regex::FromLiteral(pattern->get_ref<const std::string&>());
  if (pattern && pattern->is_object() && pattern->size() == 1) {
    if (const Json* text = FindMember(*pattern, "String"); text && text->is_string())
      return Regex::FromLiteral(text->get_ref<const std::string&>());
    if (const Json* regex = FindMember(*pattern, "Regex"); regex && regex->is_string())
      return Regex::FromOniguruma(regex->get_ref<const std::string&>());
  }
  return ModelError(absl::StrCat(std::string(where), R"(: 'pattern' is neither {"String": "..."} nor {"Regex": "..."})"));
}

StatusOr<Replacement> Replacement::FromJson(const Json& object, std::string_view where) {
  ASSIGN_OR_RETURN(Regex regex, PatternFromJson(object, where));
  ASSIGN_OR_RETURN(std::string content, RequireString(object, "content", where));
  Replacement replacement(std::move(regex), std::move(content));
  if (const Json* text = FindMember(object["pattern"], "String")) replacement.literal_ = text->get<std::string>();
  return replacement;
}

Status Replacement::Apply(std::string& text) const {
  if (!literal_.empty()) {
    if (text.find(literal_) != std::string::npos) absl::StrReplaceAll({{literal_, content_}}, &text);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::vector<Span> spans, regex_.FindAll(text));
  if (spans.empty()) return absl::OkStatus();
  std::string out;
  size_t done = 0;
  for (const auto& [begin, end] : spans) {
    out.append(text, done, begin - done);
    out += content_;
    done = end;
  }
  out.append(text, done);
  text = std::move(out);
  return absl::OkStatus();
}

}  // namespace fedalt
