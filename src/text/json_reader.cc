#include "text/json_reader.h"

#include "text/utf8.h"

namespace fedalt {
namespace {

constexpr size_t kShownLimit = 60;

Status WrongType(std::string_view where, const char* name, const Json* found, std::string_view expected) {
  return ModelError(absl::StrCat(std::string(where), ": '", name, "' is ", found ? found->type_name() : "absent", ", expected ",
                                 std::string(expected)));
}

}  // namespace

std::string Shown(std::string_view text) {
  if (text.size() <= kShownLimit) return LossyUtf8(text);
  size_t end = kShownLimit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return LossyUtf8(text.substr(0, end)) + "...";
}

const Json* FindMember(const Json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

StatusOr<std::string> RequireString(const Json& object, const char* name, std::string_view where) {
  const Json* member = FindMember(object, name);
  if (!member || !member->is_string()) return WrongType(where, name, member, "a string");
  return member->get<std::string>();
}

StatusOr<std::optional<std::string>> OptionalString(const Json& object, const char* name, std::string_view where) {
  const Json* member = FindMember(object, name);
  if (!member) return std::optional<std::string>();
  if (!member->is_string()) return WrongType(where, name, member, "a string or null");
  return std::optional<std::string>(member->get<std::string>());
}

StatusOr<bool> OptionalBool(const Json& object, const char* name, bool otherwise, std::string_view where) {
  const Json* member = FindMember(object, name);
  if (!member) return otherwise;
  if (!member->is_boolean()) return WrongType(where, name, member, "true or false");
  return member->get<bool>();
}

std::optional<int64_t> AsInt(const Json& value, int64_t most) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(most)) return std::nullopt;
  const int64_t number = value.get<int64_t>();
  if (number < 0 || number > most) return std::nullopt;
  return number;
}

StatusOr<int64_t> RequireInt(const Json& object, const char* name, int64_t most, std::string_view where) {
  const Json* member = FindMember(object, name);
  const std::optional<int64_t> number = member ? AsInt(*member, most) : std::nullopt;
  if (!number) return WrongType(where, name, member, absl::StrCat("a whole number from 0 to ", most));
  return *number;
}

StatusOr<std::string> RequireType(const Json& object, std::string_view where) {
  if (!object.is_object())
    return ModelError(absl::StrCat(std::string(where), " is ", object.type_name(), ", expected an object or null"));
  return RequireString(object, "type", where);
}

}  // namespace fedalt
