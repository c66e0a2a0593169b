// The round journal of one machine: checkpoints as files in a run directory, and a line of journal.jsonl for everything that is
// done.
//
// A checkpoint is written under a temporary name, synced and renamed before its line is appended, so that after a kill at any
// moment the journal never speaks of anything that is not there. Metrics written after the last journal line are cut off again by
// Recover, and TensorBoard's files are made to agree with them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fed/round_journal.h"
#include "run/run_config.h"
#include "run/run_directory.h"

namespace fedalt {

class FileJournal : public RoundJournal {
 public:
  struct Options {
    KeepOptions keep;
    bool rest_of_world = false;         ///< whether sites have a rest-of-world adapter worth keeping
    std::string base_model;             ///< for adapter_config.json
    const SiteSource* sites = nullptr;  ///< for predictions; borrowed
  };
  FileJournal(const RunDirectory& directory, Options options) : directory_(directory), options_(std::move(options)) {}

  /// Number of the last closed round, 0 if there is none. Changes nothing.
  StatusOr<int64_t> LastClosedRound() const;

  StatusOr<JournalPosition> Recover() override;
  Status LoadSite(int64_t round, Site& site) override;
  StatusOr<LedgerEntry> LoadSent(int64_t round, const std::string& site) override;
  StatusOr<std::optional<Published>> LoadPublished(int64_t round, const std::string& site) override;
  Status SaveSite(int64_t round, const Site& site, const TrainReport* report) override;
  Status SavePublished(const Published& published, const std::optional<std::string>& site) override;
  Status CloseRound(const RoundResult& result, bool is_best) override;

 private:
  struct Content {
    JournalPosition position;
    int64_t journal_bytes = 0, metrics_bytes = 0, csv_bytes = 0;  ///< what the complete lines vouch for
  };
  StatusOr<Content> Read() const;
  Status WriteSite(const std::filesystem::path& directory, const Site& site) const;
  Status Append(const std::string& line);
  Status WritePredictions(const RoundResult& result);
  Status WriteMetrics(const RoundResult& result);
  void DeleteOldRounds(int64_t closed_round);

  const RunDirectory& directory_;
  Options options_;
  int64_t best_round_ = 0;
  int64_t published_round_ = 0;
  std::optional<int64_t> own_round_;  // Published::own_round of that round
};

}  // namespace fedalt
