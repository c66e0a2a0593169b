// The data of a run's sites, read from their files while somebody works on them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "fed/site.h"
#include "run/run_config.h"
#include "run/work_sizes.h"
#include "text/prompt_template.h"
#include "text/tokenizer.h"

namespace fedalt {

/// Sites whose data are small together stay in memory; those beyond are read and tokenized again at each Load. Thread-safe.
class SiteFilesSource : public SiteSource {
 public:
  /// What may stay in memory, in bytes.
  static constexpr int64_t kResidentBytes = int64_t{256} << 20;

  /// Reads, splits and tokenizes every site's data once, so that what is wrong with them is found before the work begins. `notes`
  /// is added to: what is unusual about the data and what was cut, one sentence each. Errors: kData.
  static StatusOr<std::shared_ptr<const SiteFilesSource>> Open(const RunConfig& config, std::shared_ptr<const Tokenizer> tokenizer,
                                                               std::vector<std::string>& notes,
                                                               int64_t resident_bytes = kResidentBytes);

  const std::vector<SiteInfo>& sites() const override { return infos_; }
  /// Errors: kData (also for files that have changed since Open).
  StatusOr<std::shared_ptr<const SiteData>> Load(size_t site) const override;
  /// The largest batches that will be made of the data of all sites, as Open met them.
  const WorkSizes& work() const { return work_; }

 private:
  SiteFilesSource(const RunConfig& config, std::shared_ptr<const Tokenizer> tokenizer, PromptTemplate prompt_template)
      : config_(config), tokenizer_(std::move(tokenizer)), prompt_template_(std::move(prompt_template)) {}
  StatusOr<SiteData> Read(size_t site, std::vector<std::string>* notes) const;

  RunConfig config_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  PromptTemplate prompt_template_;
  std::vector<SiteInfo> infos_;
  WorkSizes work_;
  std::vector<std::shared_ptr<const SiteData>> resident_;  // per site; null: it is read again
  std::vector<std::string> hashes_;                        // of the files of a site that is read again
};

}  // namespace fedalt
