// The Python file that every export carries, as the build embeds it (cmake/embed.cmake) from src/app/export_loader.py.
#pragma once

#include <string_view>

namespace fedalt {

extern const std::string_view kExportLoader;

}  // namespace fedalt
