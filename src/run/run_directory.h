// The folder of one run: what lies where, and who may write there.
//
//   config.yaml       resolved configuration with hashes           journal.jsonl     what is done (for --resume)
//   started.yaml      the same as it was when the run started, to be compared with it
//   metrics.jsonl     one line per site and round, then the mean   metrics.csv       the same, flat
//   rounds/NNN/SITE/  individual/ and rest_of_world/ (PEFT), mixer, fold, method, optimizer, sent and received .safetensors
//   rounds/NNN/published.safetensors                               the one object that the round published to everybody
//   predictions/NNN/SITE.jsonl                                     log.txt; cross_site.json, summary.json, report.html (at the end)
//   tensorboard/SITE/events.out.tfevents.0.fedalt                  scalars of metrics.jsonl; SITE is "mean" for the mean
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/directory_lock.h"
#include "base/status.h"

namespace fedalt {

class RunDirectory {
 public:
  /// Whether a run may begin there. Errors (kOutput): it is a file, or a directory with something in it (what a start that failed
  /// before its configuration stood has left does not count).
  static Status CheckUnused(const std::filesystem::path& root);
  /// Makes a new run directory. Errors (kOutput): those of CheckUnused; it cannot be made or written.
  static StatusOr<RunDirectory> Create(const std::filesystem::path& root);
  /// Opens an existing one. Errors: kUsage (not a run directory).
  static StatusOr<RunDirectory> Open(const std::filesystem::path& root);

  /// Takes the directory for writing until destruction. Errors: kUsage (another process is at work in it).
  Status Lock();

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path config() const { return root_ / "config.yaml"; }
  std::filesystem::path started() const { return root_ / "started.yaml"; }
  /// The text of started.yaml for a configuration: behind a comment with its digest.
  static std::string StartedText(const std::string& config);
  /// Whether `text` is what StartedText made, unchanged.
  static bool IsStarted(const std::string& text);
  std::filesystem::path metrics() const { return root_ / "metrics.jsonl"; }
  std::filesystem::path metrics_csv() const { return root_ / "metrics.csv"; }
  std::filesystem::path journal() const { return root_ / "journal.jsonl"; }
  std::filesystem::path summary() const { return root_ / "summary.json"; }
  std::filesystem::path cross_site() const { return root_ / "cross_site.json"; }
  std::filesystem::path log() const { return root_ / "log.txt"; }
  std::filesystem::path rounds() const { return root_ / "rounds"; }
  std::filesystem::path round(int64_t round) const;
  std::filesystem::path site(int64_t round, const std::string& name) const { return this->round(round) / name; }
  /// What a round gave to everybody, or to one site.
  std::filesystem::path published(int64_t round) const { return this->round(round) / "published.safetensors"; }
  std::filesystem::path received(int64_t round, const std::string& name) const {
    return site(round, name) / "received.safetensors";
  }
  std::filesystem::path result(int64_t round) const { return this->round(round) / "result.json"; }
  std::filesystem::path predictions(int64_t round, const std::string& site) const;
  std::filesystem::path tensorboard() const { return root_ / "tensorboard"; }
  /// The name is that of TensorBoard's own files ("tfevents" is what it looks for), without clock, host and process.
  std::filesystem::path events(const std::string& site) const { return tensorboard() / site / "events.out.tfevents.0.fedalt"; }

 private:
  explicit RunDirectory(std::filesystem::path root) : root_(std::move(root)) {}
  std::filesystem::path root_;
  std::optional<DirectoryLock> lock_;
};

}  // namespace fedalt
