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
    "beside them \"context\"), or the file's own names in data.fields";
constexpr char kTaskFormat[] = "expected \"Definition\" and \"Instances\" (natural-instructions)";

/// Null counts as absent: programs that unite tables fill the other table's columns with it.
bool Has(const Json& object, const std::string& name) {
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

Status Missing(const Json& object, const std::string& name, const char* expected) {
  return DataError(absl::StrCat("has no field ", QuoteForMessage(name), " ", FieldsOf(object), "; ", expected));
}

Status WrongType(const std::string& name, const Json& value, const char* expected) {
  return DataError(absl::StrCat("field ", QuoteForMessage(name), " is ", value.is_null() ? "null" : QuoteForMessage(value.dump()),
                                ", expected ", expected));
}

StatusOr<std::string> RequiredText(const Json& object, const std::string& name, const char* expected) {
  const auto it = object.find(name);
  if (it == object.end()) return Missing(object, name, expected);
  if (!it->is_string()) return WrongType(name, *it, "a string");
  return it->get<std::string>();
}

/// nullopt if the field is absent or null.
StatusOr<std::optional<std::string>> OptionalText(const Json& object, const std::string& name) {
  if (!Has(object, name)) return std::nullopt;
  if (!object[name].is_string()) return WrongType(name, object[name], "a string");
  return object[name].get<std::string>();
}

/// A string, or a list of strings that are all right: the first becomes the output.
Status ReadOutputs(const Json& object, const std::string& name, const char* expected, Example& example) {
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

/// Counts the fields of a record that are not among `used` and hold something.
void CountUnused(const Json& record, const std::vector<std::string>& used, ReadReport& report) {
  ++report.records;
  for (const auto& [key, value] : record.items()) {
    const bool holds = !value.is_null() && !(value.is_string() && value.get_ref<const std::string&>().empty());
    if (holds && std::find(used.begin(), used.end(), key) == used.end()) ++report.unused[key];
  }
}

StatusOr<Example> ExampleOfInstance(const Json& instance, const ReadOptions& options, ReadReport& report) {
  constexpr char kExpected[] = "expected \"input\" and \"output\"";
  if (!instance.is_object()) return DataError("is not a JSON object with \"input\" and \"output\"");
  Example example;
  ASSIGN_OR_RETURN(example.input, RequiredText(instance, "input", kExpected));
  if (options.needs_output || Has(instance, "output")) RETURN_IF_ERROR(ReadOutputs(instance, "output", kExpected, example));
  CountUnused(instance, {"input", "output"}, report);
  return example;
}

/// Where an example's parts stand in a record: as the configuration says, else as the record's format does.
struct RecordLayout {
  std::string instruction = "instruction", input = "input", output = "output";
  std::vector<std::string> tags = {"tag", "task", "category"};  ///< the first that is there counts
};

StatusOr<RecordLayout> LayoutOf(const Json& record, const FieldNames& fields) {
  const bool own_input = !fields.input.empty(), own_output = !fields.output.empty();
  const auto has = [&record](bool is_own, const char* name) { return !is_own && Has(record, name); };
  const bool is_alpaca = has(own_input, "input") || has(own_output, "output");
  const bool is_dolly = has(own_input, "context") || has(own_output, "response");
  const bool is_task = fields == FieldNames() && (Has(record, "Definition") || Has(record, "Instances"));
  if (is_task && !is_alpaca && !is_dolly && !Has(record, "instruction"))
    return DataError(absl::StrCat("is a task of natural-instructions ", FieldsOf(record), ", expected alone in its file"));
  if (is_task || (is_alpaca && is_dolly))
    return DataError(absl::StrCat("mixes the fields of two formats ", FieldsOf(record), "; ", kFlatFormats));
  RecordLayout layout;
  if (!fields.instruction.empty()) layout.instruction = fields.instruction;
  layout.input = own_input ? fields.input : is_dolly ? "context" : "input";
  layout.output = own_output ? fields.output : is_dolly ? "response" : "output";
  if (!fields.tag.empty()) layout.tags = {fields.tag};
  return layout;
}

/// A field that the configuration names must be there, so that a misspelt name is not an empty text.
Status CheckNamedFields(const Json& record, const FieldNames& fields) {
  const std::pair<const char*, const std::string*> named[] = {
      {"instruction", &fields.instruction}, {"input", &fields.input}, {"output", &fields.output}, {"tag", &fields.tag}};
  for (const auto& [part, name] : named) {
    if (name->empty() || record.contains(*name)) continue;
    return DataError(absl::StrCat("has no field ", QuoteForMessage(*name), " ", FieldsOf(record),
                                  ", but data.fields names it for the ", part, "; correct the name or the record"));
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<Example> ExampleOfRecord(const Json& record, const ReadOptions& options, ReadReport& report) {
  if (!record.is_object()) return DataError("is not a JSON object with \"instruction\" and \"output\"");
  FieldNames fields = options.fields;
  if (!options.needs_output && !Has(record, fields.output)) fields.output.clear();
  RETURN_IF_ERROR(CheckNamedFields(record, fields));
  ASSIGN_OR_RETURN(const RecordLayout layout, LayoutOf(record, fields));
  Example example;
  ASSIGN_OR_RETURN(example.instruction, RequiredText(record, layout.instruction, kFlatFormats));
  ASSIGN_OR_RETURN(std::optional<std::string> input, OptionalText(record, layout.input));
  example.input = std::move(input).value_or("");
  if (options.needs_output || Has(record, layout.output))
    RETURN_IF_ERROR(ReadOutputs(record, layout.output, kFlatFormats, example));
  for (const std::string& name : layout.tags) {
    ASSIGN_OR_RETURN(std::optional<std::string> tag, OptionalText(record, name));
    if (!tag.has_value()) continue;
    example.tag = *std::move(tag);
    break;
  }
  std::vector<std::string> used = layout.tags;
  used.insert(used.end(), {layout.instruction, layout.input, layout.output});
  CountUnused(record, used, report);
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

StatusOr<std::vector<Example>> ParseTaskFile(std::string_view bytes, const std::string& task, const ReadOptions& options,
                                             ReadReport& report) {
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
    StatusOr<Example> example = ExampleOfInstance(instance, options, report);
    if (!example.ok()) return DataError(absl::StrCat("instance ", examples.size(), " ", std::string(example.status().message())));
    example->id = static_cast<int64_t>(examples.size());
    example->instruction = definition;
    example->tag = name.value_or(task);
    examples.push_back(*std::move(example));
  }
  const int64_t records = report.records;
  CountUnused(object, {"Definition", "Instances", "Name"}, report);
  report.records = records;  // the task is none of its instances
  return examples;
}

}  // namespace fedalt
