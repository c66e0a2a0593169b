#include "text/post_processor.h"

#include <string>
#include <utility>

#include "text/token_model.h"

namespace fedalt {
namespace {
constexpr char kWhere[] = "post_processor";
constexpr size_t kOutputLimit = 1 << 20;  // special tokens around a text
}  // namespace

StatusOr<PostProcessor::Template> PostProcessor::TemplateFromJson(const Json& json) {
  const Json* single = FindMember(json, "single");
  if (!single || !single->is_array()) return ModelError("post_processor: TemplateProcessing has no list 'single'");
  const Json* specials = FindMember(json, "special_tokens");
  Template result;
  for (const Json& piece : *single) {
    if (const Json* sequence = FindMember(piece, "Sequence")) {
      ASSIGN_OR_RETURN(const std::string id, RequireString(*sequence, "id", kWhere));
      if (id != "A")
        return ModelError(absl::StrCat("post_processor: the template of one text names the text '", Shown(id), "', expected A"));
      result.push_back({true, {}});
      continue;
    }
    const Json* special = FindMember(piece, "SpecialToken");
    if (!special) return ModelError("post_processor: a template holds something that is neither a Sequence nor a SpecialToken");
    ASSIGN_OR_RETURN(const std::string name, RequireString(*special, "id", kWhere));
    const Json* entry = specials ? FindMember(*specials, name.c_str()) : nullptr;
    const Json* ids = entry ? FindMember(*entry, "ids") : nullptr;
    if (!ids || !ids->is_array())
      return ModelError(
          absl::StrCat("post_processor: the special token '", Shown(name), "' of the template has no ids in 'special_tokens'"));
    Item item;
    for (const Json& value : *ids) {
      const std::optional<int64_t> id = AsInt(value, kIdLimit - 1);
      if (!id)
        return ModelError(absl::StrCat("post_processor: the special token '", Shown(name), "' has an id that is no token id"));
      item.ids.push_back(static_cast<int32_t>(*id));
    }
    result.push_back(std::move(item));
  }
  return result;
}

StatusOr<PostProcessor> PostProcessor::FromJson(const Json& json) {
  PostProcessor processor;
  if (json.is_null()) return processor;
  ASSIGN_OR_RETURN(const std::string type, RequireType(json, kWhere));
  if (type == "ByteLevel") return processor;
  if (type == "TemplateProcessing") {
    ASSIGN_OR_RETURN(Template made, TemplateFromJson(json));
    processor.templates_.push_back(std::move(made));
  } else if (type == "Sequence") {
    const Json* list = FindMember(json, "processors");
    if (!list || !list->is_array()) return ModelError("post_processor: a Sequence has no list 'processors'");
    for (const Json& part : *list) {
      ASSIGN_OR_RETURN(const PostProcessor made, FromJson(part));
      processor.templates_.insert(processor.templates_.end(), made.templates_.begin(), made.templates_.end());
    }
  } else {
    return ModelError(
        absl::StrCat("the post-processor '", Shown(type), "' is not supported; TemplateProcessing, ByteLevel and Sequence are"));
  }
  // Templates may repeat the text; together they must not explode.
  size_t copies = 1, extra = 0;
  for (const Template& made : processor.templates_) {
    size_t texts = 0, ids = 0;
    for (const Item& item : made) {
      texts += item.is_text ? 1 : 0;
      ids += item.ids.size();
    }
    copies *= texts;
    extra = extra * texts + ids;
    if (copies > 8 || extra > kOutputLimit) return ModelError("post_processor: its templates repeat the text too often");
  }
  return processor;
}

PostProcessor PostProcessor::Around(std::vector<int32_t> before, std::vector<int32_t> behind) {
  PostProcessor processor;
  processor.templates_.push_back({{false, std::move(before)}, {true, {}}, {false, std::move(behind)}});
  return processor;
}

std::vector<int32_t> PostProcessor::Apply(std::vector<int32_t> ids) const {
  for (const Template& made : templates_) {
    std::vector<int32_t> out;
    for (const Item& item : made) {
      const std::vector<int32_t>& part = item.is_text ? ids : item.ids;
      out.insert(out.end(), part.begin(), part.end());
    }
    ids = std::move(out);
  }
  return ids;
}

std::vector<int32_t> PostProcessor::Front() const {
  std::vector<int32_t> front;
  for (const Template& made : templates_) {
    std::vector<int32_t> before;
    for (const Item& item : made) {
      if (item.is_text) break;
      before.insert(before.end(), item.ids.begin(), item.ids.end());
    }
    front.insert(front.begin(), before.begin(), before.end());
  }
  return front;
}

}  // namespace fedalt
