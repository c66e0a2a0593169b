// links: data
// Examples from any bytes: refused with a message, or, for an array or a task, the same examples as an ordinary JSON parser gives.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/check.h"
#include "data/dataset.h"

namespace {

void CheckOutputs(const nlohmann::json& outputs, const fedalt::Example& example) {
  const bool is_list = outputs.is_array();
  FEDALT_CHECK((is_list ? outputs.front() : outputs) == example.output, "the first output");
  FEDALT_CHECK(example.more_outputs.size() == (is_list ? outputs.size() - 1 : 0), "all the others");
}

/// Other ways to read: no byte may do more than be refused, and what is counted is what is there.
void ReadOtherwise(std::string_view bytes) {
  const fedalt::FieldNames names = {"instruction", "category", "response", "input"};
  for (const fedalt::ReadOptions& options : {fedalt::ReadOptions{names, true}, {names, false}, {{}, false}}) {
    fedalt::ReadReport report;
    const auto examples = fedalt::ParseExamples(bytes, "name", options, &report);
    if (!examples.ok()) {
      FEDALT_CHECK(fedalt::KindOf(examples.status()) == fedalt::ErrorKind::kData, "an error of the data");
      continue;
    }
    const auto records = static_cast<int64_t>(examples->size());
    FEDALT_CHECK(report.records == records, "every example is a record");
    for (const auto& [field, count] : report.unused) FEDALT_CHECK(count > 0 && count <= records, "no record is counted twice");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  ReadOtherwise(bytes);
  const auto examples = fedalt::ParseExamples(bytes, "name");
  if (!examples.ok()) {
    FEDALT_CHECK(fedalt::KindOf(examples.status()) == fedalt::ErrorKind::kData, "an error of the data");
    FEDALT_CHECK(examples.status().message().substr(0, 6) == "name: ", "an error names its file");
    return 0;
  }
  FEDALT_CHECK(!examples->empty(), "no examples is an error");
  for (size_t i = 0; i < examples->size(); ++i) FEDALT_CHECK((*examples)[i].id == static_cast<int64_t>(i), "ids count from 0");
  // The reader cuts an array at its commas before it parses; it must not accept what is not one JSON array.
  const size_t first = bytes.find_first_of("[{");
  const nlohmann::json whole = nlohmann::json::parse(bytes.begin(), bytes.end(), nullptr, /*allow_exceptions=*/false);
  if (whole.is_object() && whole.contains("Instances") && whole["Instances"].is_array()) {
    FEDALT_CHECK(whole["Instances"].size() == examples->size(), "every instance is an example");
    for (size_t i = 0; i < examples->size(); ++i) CheckOutputs(whole["Instances"][i]["output"], (*examples)[i]);
  }
  if (bytes[first] != '[') return 0;
  FEDALT_CHECK(whole.is_array() && whole.size() == examples->size(), "the whole is one JSON array of as many examples");
  for (size_t i = 0; i < whole.size(); ++i) {
    const bool is_dolly = whole[i].contains("response") && !whole[i]["response"].is_null();
    FEDALT_CHECK(whole[i]["instruction"] == (*examples)[i].instruction, "the same instruction");
    CheckOutputs(whole[i][is_dolly ? "response" : "output"], (*examples)[i]);
  }
  return 0;
}
