// What the lines of journal.jsonl say. A crash may tear its last line, and others may write into it; nothing in it is believed
// unseen. No files, no libtorch: tests/fuzz/journal_fuzz.cc reads anything as a journal. Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fedalt {

struct JournalLines {
  int64_t closed_round = 0, joined_round = 0, best_round = 0;  ///< 0: none
  double best_validation_loss = 0.0;
  std::map<int64_t, nlohmann::json> reports;  ///< by site: objects, of the sites that finished training in round closed_round + 1
  int64_t bytes = 0;                          ///< of the complete lines
  int64_t metrics_bytes = 0, csv_bytes = 0;   ///< of the metrics, for which the last closed round vouches
};

/// Reads `{"event": "site", "round", "site", "report"}` and `{"event": "round", "round", "metrics_bytes", "csv_bytes"; "joined",
/// "best", "validation_loss"}`, a line each; a last line without its end counts for nothing. `name`: of the file, for messages.
/// Errors: kOutput (a line is none of these, or does not continue those before it).
StatusOr<JournalLines> ReadJournalLines(std::string_view text, const std::string& name);

}  // namespace fedalt
