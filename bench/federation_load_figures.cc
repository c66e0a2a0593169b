// A server under load. One round gives all figures, so the rounds of an invocation are kept in its scratch directory: the first
// measurement of each figure takes the first round, the second one the second.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/check.h"
#include "base/file.h"
#include "federation_load.h"
#include "figures.h"
#include "scratch.h"

namespace fedalt::bench {
namespace {

using nlohmann::json;

json RoundOf(bool quick) {
  const Load load = quick ? Load{8, 262'144, 20} : Load{200, 4'200'000, 2'000};
  const LoadResult result = MeasureLoad(load, Scratch() / "federation-load");
  json numbers = {{"share", result.share},
                  {"round_s", result.round_s},
                  {"aggregation_s", result.aggregation_s},
                  {"copy_s", result.copy_s},
                  {"server_cpu_s", result.server_cpu_s},
                  {"copy_cpu_s", result.copy_cpu_s},
                  {"read_s", result.read_s},
                  {"peak_mb", result.peak_mb},
                  {"empty_mb", result.empty_mb},
                  {"kb_per_connection", result.kb_per_connection},
                  {"connect_s", result.connect_s},
                  {"failed_uploads", result.failed_uploads + result.failed_idle},
                  {"repeated_calls", result.repeated_calls},
                  {"median_poll_ms", result.median_poll_ms},
                  {"slowest_poll_ms", result.slowest_poll_ms}};
  std::fprintf(stderr, "%s\n", numbers.dump().c_str());
  return numbers;
}

double Measure(const std::string& name, bool quick) {
  const auto file = [](const std::string& what) { return Scratch() / absl::StrCat("federation-load-", what); };
  const int before = std::atoi(ReadFile(file(name), ErrorKind::kInternal).value_or("0").c_str());
  FEDALT_CHECK(WriteFileAtomic(file(name), std::to_string(before + 1)).ok(), "the scratch directory can be written");
  const std::filesystem::path round = file(absl::StrCat("round-", before));
  if (const auto known = ReadFile(round, ErrorKind::kInternal); known.ok()) return json::parse(*known).at(name).get<double>();
  const json numbers = RoundOf(quick);
  FEDALT_CHECK(WriteFileAtomic(round, numbers.dump()).ok(), "the scratch directory can be written");
  return numbers.at(name).get<double>();
}

}  // namespace

std::vector<FigureDefinition> FederationLoadFigures() {
  return {
      {"federation_load_share", "share",
       "200 sites upload 4.2 M float32 each at the same time to one server over TLS with certificates on both sides, 2,000 more "
       "hold "
       "their connections in Poll, all on this machine; time of writing the same pieces with the same syncs through the server's "
       "store by as many threads as cores, and of adding them up from there, over the time from the opening of the round to its "
       "closing",
       false, [](bool quick) { return Measure("share", quick); }},
      {"federation_peak_mb", "MB", "the server's greatest resident memory in that round, and while the 200 sites read the sum",
       false, [](bool quick) { return Measure("peak_mb", quick); }},
      {"federation_kb_per_connection", "kB",
       "growth of the server's resident memory when 2,000 sites have dialled at the same time, enrolled, and wait in Poll; per "
       "site",
       false, [](bool quick) { return Measure("kb_per_connection", quick); }},
      {"federation_failed_uploads", "sites",
       "sites whose upload failed or that read another sum than one computed beside it, and waiting sites with a failed call",
       false, [](bool quick) { return Measure("failed_uploads", quick); }},
      {"federation_slowest_poll_ms", "ms",
       "in that round, the longest time that one more site waited for the answer to a call that has nothing to wait for", false,
       [](bool quick) { return Measure("slowest_poll_ms", quick); }}};
}

}  // namespace fedalt::bench
