#include "run/run_format.h"

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/strict_json.h"
#include "run/run_config.h"

namespace fedalt {

Status CheckRunFormat(const std::filesystem::path& directory) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(directory / "environment.json", ErrorKind::kOutput));
  ASSIGN_OR_RETURN(const nlohmann::json environment, ParseJson(text, {.kind = ErrorKind::kOutput}));
  int64_t format = 1;  // before it was written down
  if (environment.is_object() && environment.contains("run_format"))
    format = environment["run_format"].is_number_integer() ? environment["run_format"].get<int64_t>() : 0;
  if (format == kRunFormat) return absl::OkStatus();
  return OutputError(absl::StrCat(directory.string(), ": has run format ", format, ", and this fedalt goes on with format ",
                                  kRunFormat,
                                  " alone; start the run anew, or go on with the fedalt that began it (report, eval, export and "
                                  "generate read it)"));
}

}  // namespace fedalt
