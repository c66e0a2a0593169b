// The schema of store.db, the one database of a server's or a site's directory.
#pragma once

#include <span>
#include <string>

namespace fedalt {

/// The steps that make it, for Database::Open: add at the end, never change one that was released. The order: 1 audit log, 2
/// server.
std::span<const std::string> StoreMigrations();

/// Name of the database in the directory.
inline constexpr char kStoreName[] = "store.db";

}  // namespace fedalt
