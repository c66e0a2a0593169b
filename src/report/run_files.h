// Single files of a run directory, as the report needs them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace fedalt {

/// `text` with what is not UTF-8 replaced by U+FFFD.
std::string RepairUtf8(std::string_view text);

/// A whole JSON file, or nullopt if there is none. Errors (kOutput): it is damaged, or `what` it should be and is not an object.
StatusOr<std::optional<nlohmann::json>> ReadJsonObject(const std::filesystem::path& path);

/// The value of "key" or "group.key" in a config.yaml of a run, without quotes; empty if it is not there. Only for what the program
/// itself has written: one key a line, groups indented by two.
std::string ConfigValue(std::string_view yaml, std::string_view name);
/// The elements of such a value that is a list: "[a, b]".
std::vector<std::string> ConfigList(std::string_view yaml, std::string_view name);

/// The first few predictions of each site, with "exact" for those that equal their reference: {"round", "sites": [[...], ...]}, or
/// null if there are none. Errors (kOutput): a file is damaged.
StatusOr<nlohmann::ordered_json> ReadPredictions(const std::filesystem::path& root, int64_t round,
                                                 const std::vector<std::string>& sites);

/// cross_site.json, checked for its shape; null if there is none. Errors (kOutput): it is damaged.
StatusOr<nlohmann::ordered_json> ReadCrossSite(const std::filesystem::path& root);

}  // namespace fedalt
