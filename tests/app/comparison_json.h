// Reading a comparison's comparison.json in tests.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "app/cli_process.h"

namespace fedalt::testing {

inline nlohmann::json ReadJson(const std::filesystem::path& path) {
  nlohmann::json content = nlohmann::json::parse(Slurp(path), nullptr, false);
  EXPECT_TRUE(content.is_object()) << path;
  return content;
}

/// The row of that name; without one, the test fails and the whole comparison is returned.
template <typename Json>
Json& RowOf(Json& comparison, const std::string& name) {
  for (Json& row : comparison["rows"])
    if (row["name"] == name) return row;
  ADD_FAILURE() << "no row " << name;
  return comparison;
}

/// Without what the clock says.
inline nlohmann::json WithoutTimes(nlohmann::json comparison) {
  for (nlohmann::json& row : comparison["rows"]) {
    row.erase("seconds");
    row.erase("train_seconds");
  }
  return comparison;
}

}  // namespace fedalt::testing
