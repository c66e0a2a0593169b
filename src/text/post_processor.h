// The "post_processor" section of a tokenizer.json: special tokens around the ids of one text. A value, immutable.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "text/json_reader.h"

namespace fedalt {

class PostProcessor {
 public:
  /// Adds nothing.
  PostProcessor() = default;
  /// Types: TemplateProcessing, ByteLevel (which changes no ids), Sequence; null adds nothing.
  static StatusOr<PostProcessor> FromJson(const Json& json);
  /// Puts `before` and `behind` around a text.
  static PostProcessor Around(std::vector<int32_t> before, std::vector<int32_t> behind);

  std::vector<int32_t> Apply(std::vector<int32_t> ids) const;
  /// The ids in front of the (first) text.
  std::vector<int32_t> Front() const;

 private:
  struct Item {
    bool is_text = false;
    std::vector<int32_t> ids;
  };
  using Template = std::vector<Item>;
  static StatusOr<Template> TemplateFromJson(const Json& json);
  std::vector<Template> templates_;  // applied one after the other
};

}  // namespace fedalt
