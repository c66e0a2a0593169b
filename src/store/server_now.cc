#include "store/server_now.h"

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/private_file.h"

namespace fedalt {
namespace {

using nlohmann::json;

constexpr char kFile[] = "now.json";
constexpr size_t kMostBytes = size_t{1} << 24;

int64_t NumberOr0(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

std::map<std::string, int64_t> NumbersIn(const json& object, const char* name) {
  std::map<std::string, int64_t> numbers;
  const auto found = object.find(name);
  if (found == object.end() || !found->is_object()) return numbers;
  for (const auto& [key, value] : found->items())
    if (value.is_number_integer()) numbers[key] = value.get<int64_t>();
  return numbers;
}

}  // namespace

Status WriteServerNow(const std::filesystem::path& directory, const ServerNow& now) {
  const json object = {{"start", now.start},
                       {"aggregating_round", now.aggregating_round},
                       {"heard_ms", now.heard_ms},
                       {"not_after_s", now.not_after_s}};
  return WritePrivateFileAtomic(directory / kFile, object.dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
}

ServerNow ReadServerNow(const std::filesystem::path& directory) {
  const StatusOr<std::string> text = ReadFile(directory / kFile, ErrorKind::kOutput, kMostBytes);
  const json object = text.ok() ? json::parse(*text, nullptr, false) : json();
  if (!object.is_object()) return {};
  return {NumberOr0(object, "start"), NumberOr0(object, "aggregating_round"), NumbersIn(object, "heard_ms"),
          NumbersIn(object, "not_after_s")};
}

}  // namespace fedalt
