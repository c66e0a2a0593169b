// The database file of a server or a site: one list of migrations each for store/database.h, so that any version of the program can
// bring an older file up to date, as far as CheckSchema allows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "base/status.h"
#include "store/database.h"

namespace fedalt {

/// The file's name in a server's or a site's directory.
inline constexpr char kStoreName[] = "store.db";

/// Files of earlier versions are refused.
inline constexpr int64_t kFirstSchemaVersion = 5;

/// A server's tables.
std::span<const std::string> StoreMigrations();
/// A site's; its file has the same name.
std::span<const std::string> SiteMigrations();

StatusOr<int64_t> SchemaVersion(Database& database);
/// Whether this program works on the file, or on a database that was opened for reading only; a file that is not there will do.
/// Errors: kOutput.
Status CheckSchema(const std::filesystem::path& file);
Status CheckSchema(Database& database);

}  // namespace fedalt
