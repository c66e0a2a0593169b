#include "data/example_formats.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/strict_json.h"

namespace fedalt {
namespace {

using Json = nlohmann::json;

constexpr char kFlatFormats[] =
    "expected \"instruction\" and \"output\" (alpaca, FLAN; beside them \"input\"), or \"instruction\" and \"response\" (dolly; "
    "beside "
    "them \"context\")";
constexpr char kTaskFormat[] = "expected \"Definition\" and \"Instances\" (natural-instructions)";

/// Null counts as absent: programs that unite tables fill the other table's columns with it.
bool Has(const Json& object, const char* name) {
  const auto it = object.find(name);
  return it != object.end() && !it->is_null();
}

std::string FieldsOf(const Json& object) {
  constexpr int kMostNamed = 20;
  std::string found;
  int named = 0;
  for (const auto& [key, value] : object.items()) {
    if (++named > kMostNamed) break;
    absl::StrAppend(&found, found.empty() ? "" : ", ", QuoteForMessage(key));
  }
  if (named > kMostNamed) found += ", ...";
  return absl::StrCat("(it has ", found.empty() ? "none" : found, ")");
}

Status Missing(const Json& object, const char* name, const char* expected) {
  return DataError(absl::StrCat("has no field \"", name, "\" ", FieldsOf(object), "; ", expected));
}

Status WrongType(const char* name, const Json& value, const char* expected) {
  return DataError(
      absl::StrCat("field \"", name, "\" is ", value.is_null() ? "null" : QuoteForMessage(value.dump()), ", expected ", expected));
}

StatusOr<std::string> RequiredText(const Json& object, const char* name, const char* expected) {
  const auto it = object.find(name);
  if (it == object.end()) return Missing(object, name, expected);
  if (!it->is_string()) return WrongType(name, *it, "a string");
  return it->get<std::string>();
}

/// nullopt if the field is absent or null.
StatusOr<std::optional<std::string>> OptionalText(const Json& object, const char* name) {
  if (!Has(object, name)) return std::nullopt;
  if (!object[name].is_string()) return WrongType(name, object[name], "a string");
  return object[name].get<std::string>();
}

/// A string, or a list of strings that are all right: the first becomes the output.
Status ReadOutputs(const Json& object, const char* name, const char* expected, Example& example) {
  const auto it = object.find(name);
  if (it == object.end()) return Missing(object, name, expected);
  if (it->is_string()) {
    example.output = it->get<std::string>();
    return absl::OkStatus();
  }
  const bool is_list =
      it->is_array() && !it->empty() && std::all_of(it->begin(), it->end(), [](const Json& output) { return output.is_string(); });
  if (!is_list) return WrongType(name, *it, "a string or a list of at least one string");
  example.output = it->front().get<std::string>();
  for (size_t i = 1; i < it->size(); ++i) example.more_outputs.push_back((*it)[i].get<std::string>());
  return absl::OkStatus();
}

/// The definition is a string, or a list whose first entry counts (the others are other wordings of it).
StatusOr<std::string> DefinitionOf(const Json& task) {
  const auto it = task.find("Definition");
  if (it == task.end()) return Missing(task, "Definition", kTaskFormat);
  const Json& text = it->is_array() && !it->empty() ? it->front() : *it;
  if (!text.is_string()) return WrongType("Definition", *it, "a string or a list of at least one string");
  return text.get<std::string>();
}

StatusOr<Example> ExampleOfInstance(const Json& instance) {
  constexpr char kExpected[] = "expected \"input\" and \"output\"";
  if (!instance.is_object()) return DataError("is not a JSON object with \"input\" and \"output\"");
  Example example;
  ASSIGN_OR_RETURN(example.input, RequiredText(instance, "input", kExpected));
  RETURN_IF_ERROR(ReadOutputs(instance, "output", kExpected, example));
  return example;
}

}  // namespace

StatusOr<Example> ExampleOfRecord(const Json& record) {
  if (!record.is_object()) return DataError("is not a JSON object with \"instruction\" and \"output\"");
  const bool is_alpaca = Has(record, "input") || Has(record, "output");
  const bool is_dolly = Has(record, "context") || Has(record, "response");
  const bool is_task = Has(record, "Definition") || Has(record, "Instances");
  if (is_task && !is_alpaca && !is_dolly && !Has(record, "instruction"))
    return DataError(absl::StrCat("is a task of natural-instructions ", FieldsOf(record), ", expected alone in its file"));
  if (is_task || (is_alpaca && is_dolly))
    return DataError(absl::StrCat("mixes the fields of two formats ", FieldsOf(record), "; ", kFlatFormats));
  Example example;
  ASSIGN_OR_RETURN(example.instruction, RequiredText(record, "instruction", kFlatFormats));
  ASSIGN_OR_RETURN(std::optional<std::string> input, OptionalText(record, is_dolly ? "context" : "input"));
  example.input = std::move(input).value_or("");
  RETURN_IF_ERROR(ReadOutputs(record, is_dolly ? "response" : "output", kFlatFormats, example));
  for (const char* name : {"tag", "task", "category"}) {
    ASSIGN_OR_RETURN(std::optional<std::string> tag, OptionalText(record, name));
    if (!tag.has_value()) continue;
    example.tag = *std::move(tag);
    break;
  }
  return example;
}

bool IsTaskFile(std::string_view bytes) {
  int64_t depth = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const char c = bytes[i];
    if (c == '{' || c == '[') ++depth;
    if ((c == '}' || c == ']') && --depth == 0) return false;
    if (c != '"') continue;
    const size_t begin = ++i;
    while (i < bytes.size() && bytes[i] != '"') i += bytes[i] == '\\' ? 2 : 1;
    if (depth != 1 || i >= bytes.size()) continue;
    const std::string_view text = bytes.substr(begin, i - begin);
    if (text != "Definition" && text != "Instances") continue;
    const size_t next = bytes.find_first_not_of(" \t\r\n", i + 1);
    if (next != bytes.npos && bytes[next] == ':') return true;
  }
  return false;
}

StatusOr<std::vector<Example>> ParseTaskFile(std::string_view bytes, const std::string& task) {
  ASSIGN_OR_RETURN(const Json object, ParseJson(bytes, {.kind = ErrorKind::kData, .max_depth = 32}));
  for (const char* name : {"instruction", "input", "output", "context", "response"}) {
    if (Has(object, name))
      return DataError(
          absl::StrCat("mixes the fields of two formats ", FieldsOf(object), "; ", kTaskFormat, ", or ", kFlatFormats));
  }
  ASSIGN_OR_RETURN(const std::string definition, DefinitionOf(object));
  ASSIGN_OR_RETURN(const std::optional<std::string> name, OptionalText(object, "Name"));
  const auto instances = object.find("Instances");
  if (instances == object.end()) return Missing(object, "Instances", kTaskFormat);
  if (!instances->is_array()) return WrongType("Instances", *instances, "a list of objects with \"input\" and \"output\"");
  std::vector<Example> examples;
  examples.reserve(instances->size());
  for (const Json& instance : *instances) {
    StatusOr<Example> example = ExampleOfInstance(instance);
    if (!example.ok()) return DataError(absl::StrCat("instance ", examples.size(), " ", std::string(example.status().message())));
    example->id = static_cast<int64_t>(examples.size());
    example->instruction = definition;
    example->tag = name.value_or(task);
    examples.push_back(*std::move(example));
  }
  return examples;
}

}  // namespace fedalt
