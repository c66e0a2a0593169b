// links: base
// sources: src/run/journal_lines.cc
//
// Any bytes as journal.jsonl: refused with a reason, or a run that stands at one round. Cut off anywhere, as a crash does, the
// lines before the cut are read as they were.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "run/journal_lines.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto journal = fedalt::ReadJournalLines(text, "journal.jsonl");
  if (!journal.ok()) {
    FEDALT_CHECK(fedalt::KindOf(journal.status()) == fedalt::ErrorKind::kOutput, "an error of the output");
    FEDALT_CHECK(!journal.status().message().empty(), "it says why");
    return 0;
  }
  FEDALT_CHECK(journal->closed_round >= 0 && journal->joined_round <= journal->closed_round, "rounds go forward");
  FEDALT_CHECK(journal->best_round <= journal->closed_round && std::isfinite(journal->best_validation_loss), "the best was closed");
  FEDALT_CHECK(journal->metrics_bytes >= 0 && journal->csv_bytes >= 0, "sizes");
  FEDALT_CHECK(journal->bytes >= 0 && journal->bytes <= static_cast<int64_t>(size), "complete lines are in the text");
  for (const auto& [site, report] : journal->reports) FEDALT_CHECK(site >= 0 && report.is_object(), "a report");
  // A crash while another line is appended takes nothing away.
  const auto whole = fedalt::ReadJournalLines(text.substr(0, static_cast<size_t>(journal->bytes)), "journal.jsonl");
  FEDALT_CHECK(whole.ok() && whole->bytes == journal->bytes && whole->closed_round == journal->closed_round &&
                   whole->reports == journal->reports,
               "a torn last line counts for nothing");
  const auto half = fedalt::ReadJournalLines(text.substr(0, size / 2), "journal.jsonl");
  FEDALT_CHECK(half.ok() && half->closed_round <= journal->closed_round, "what was read whole is read in part");
  return 0;
}
