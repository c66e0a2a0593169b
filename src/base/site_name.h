// What a site may be called, decided in one place: its name is a folder of runs and keys, a line of the audit log, a row of tables
// and an argument of commands. The name of a federation has the same form. Pure; thread-safe.
#pragma once

#include <string>
#include <string_view>

namespace fedalt {

/// Of a site or a federation: 1 to 64 ASCII letters, digits, '-', '_' and '.', neither '.' nor '-' first. Says what is wrong and
/// what was expected, a part of a sentence behind the name's owner (`is "my site"; expected ...`); empty if nothing is.
std::string NameFault(std::string_view name);

/// The same of a site, which also may not be called as something else is that stands beside sites: "mean" in results, "server" in
/// the audit log and tables of keys, and the files of a round's folder.
std::string SiteNameFault(std::string_view name);

}  // namespace fedalt
