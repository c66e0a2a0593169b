#include "run/journal_lines.h"

#include <cmath>

#include "base/strict_json.h"

namespace fedalt {
namespace {

/// A member of a line that may be of any kind; the value in `otherwise` if it is not of this one.
template <typename T>
T Member(const nlohmann::json& line, const char* name, T otherwise) {
  const auto found = line.find(name);
  if (found == line.end()) return otherwise;
  if constexpr (std::is_same_v<T, std::string>)
    return found->is_string() ? found->get<std::string>() : otherwise;
  else if constexpr (std::is_same_v<T, bool>)
    return found->is_boolean() ? found->get<bool>() : otherwise;
  else if constexpr (std::is_same_v<T, int64_t>)
    return found->is_number_integer() && (!found->is_number_unsigned() || found->get<uint64_t>() <= INT64_MAX)
               ? found->get<int64_t>()
               : otherwise;
  else
    return found->is_number() ? found->get<double>() : otherwise;
}

/// Whether the line, an object, continues what is there; then it is part of it.
bool Continue(const nlohmann::json& line, JournalLines& journal) {
  const auto event = Member<std::string>(line, "event", "");
  const auto round = Member<int64_t>(line, "round", -1);
  if (event == "site") {
    const auto site = Member<int64_t>(line, "site", -1);
    const auto report = line.find("report");
    if (round != journal.closed_round + 1 || site < 0 || report == line.end() || !report->is_object()) return false;
    journal.reports[site] = *report;
    return true;
  }
  const bool joined = Member(line, "joined", false), best = Member(line, "best", false);
  const auto metrics_bytes = Member<int64_t>(line, "metrics_bytes", -1), csv_bytes = Member<int64_t>(line, "csv_bytes", -1);
  const double loss = Member(line, "validation_loss", std::nan(""));
  const bool follows = round == journal.closed_round + 1 || (journal.closed_round == 0 && joined && round > 0);
  if (event != "round" || !follows || metrics_bytes < 0 || csv_bytes < 0) return false;
  journal.closed_round = round;
  if (joined) journal.joined_round = round;
  journal.reports.clear();
  journal.metrics_bytes = metrics_bytes;
  journal.csv_bytes = csv_bytes;
  if (best && std::isfinite(loss)) {  // what is no number (null in JSON) was never the best
    journal.best_round = round;
    journal.best_validation_loss = loss;
  }
  return true;
}

}  // namespace

StatusOr<JournalLines> ReadJournalLines(std::string_view text, const std::string& name) {
  JournalLines journal;
  int64_t number = 0;
  for (size_t at = 0, end = 0; (end = text.find('\n', at)) != text.npos; at = end + 1) {
    ++number;
    journal.bytes = static_cast<int64_t>(end) + 1;
    if (end == at) continue;
    const std::string where = absl::StrCat(name, ", line ", number);
    const auto line = ParseJson(text.substr(at, end - at), {.kind = ErrorKind::kOutput});
    if (!line.ok()) return Annotate(line.status(), where);
    if (!line->is_object() || !Continue(*line, journal))
      return OutputError(absl::StrCat(where, ": does not continue the run after round ", journal.closed_round, " (",
                                      QuoteForMessage(text.substr(at, end - at)),
                                      "); the journal was changed, so the run cannot be resumed; put it back from a backup"));
  }
  return journal;
}

}  // namespace fedalt
