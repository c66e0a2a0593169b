// fedalt report: the HTML report of a run or a comparison, made again.
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "report/report.h"

namespace fedalt {
namespace {

constexpr char kExamples[] =
    "Examples:\n"
    "  fedalt report runs/mine                writes runs/mine/report.html\n"
    "  fedalt report comparisons/methods      the directory of a comparison\n"
    "  fedalt report runs/mine --format json";

Status Execute(const std::string& directory, bool json) {
  ASSIGN_OR_RETURN(const WrittenReport report, WriteReport(directory));
  if (!json) return WriteResult(absl::StrCat("the report is ", report.path.string(), "\n"));
  const nlohmann::ordered_json object = {{"report", report.path.string()}, {"kind", report.kind}, {"bytes", report.bytes}};
  return WriteResult(object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

}  // namespace

void AddReportCommand(CLI::App& program, Command& command) {
  auto directory = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  CLI::App* app = program.add_subcommand("report", "Write the HTML report of a run or a comparison again");
  app->add_option("dir", *directory, "Directory of the run or the comparison")->required()->type_name("DIR");
  AddFormatOption(*app, *json);
  app->footer(kExamples);
  app->callback([directory, json, &command] { command.run = [directory, json] { return Execute(*directory, *json); }; });
}

}  // namespace fedalt
