// The schema of store.db, the one database of a server's or a site's directory.
#pragma once

#include <span>
#include <string>

namespace fedalt {

/// The steps that make a server's, for Database::Open: add at the end, never change one that was released.
std::span<const std::string> StoreMigrations();
/// The same of a site's record.
std::span<const std::string> SiteMigrations();

/// Name of the database in the directory.
inline constexpr char kStoreName[] = "store.db";

}  // namespace fedalt
