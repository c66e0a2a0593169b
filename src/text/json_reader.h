// Members of JSON from outside (base/strict_json.h parses it), of a stated type or a clear error (kModel).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fedalt {

using Json = nlohmann::json;

/// The member `name` of `object`, or nullptr if it is absent or null.
const Json* FindMember(const Json& object, const char* name);

/// `where` names the object in an error: "tokenizer.json: normalizer".
StatusOr<std::string> RequireString(const Json& object, const char* name, std::string_view where);
StatusOr<std::optional<std::string>> OptionalString(const Json& object, const char* name, std::string_view where);
StatusOr<bool> OptionalBool(const Json& object, const char* name, bool otherwise, std::string_view where);
/// A whole number from 0 to `most`.
StatusOr<int64_t> RequireInt(const Json& object, const char* name, int64_t most, std::string_view where);
/// The value of a number from 0 to `most`, if it is one.
std::optional<int64_t> AsInt(const Json& value, int64_t most);
/// The member "type" of an object; the error says what stands there instead.
StatusOr<std::string> RequireType(const Json& object, std::string_view where);

/// At most 60 bytes of a value for use in a message, cut between characters.
std::string Shown(std::string_view text);

}  // namespace fedalt
