// How large the batches of a run are, in tokens: what its memory depends on beside the model. Pure functions of configuration and
// data. A meter belongs to one thread.
#pragma once

#include <cstdint>
#include <vector>

#include "fed/site.h"
#include "run/run_config.h"

namespace fedalt {

/// The largest batches that one site computes, in tokens.
struct WorkSizes {
  int64_t train_tokens = 0;
  int64_t train_responses = 0;  ///< of them with a loss
  int64_t loss_tokens = 0;      ///< of an evaluation's batch
  int64_t loss_responses = 0;
  int64_t prompts = 0;        ///< of one batch of generation
  int64_t prompt_tokens = 0;  ///< of all of them
  int64_t cached_tokens = 0;  ///< places of keys and values: prompts once, and what every beam goes on with
};

/// Every example as long as max_length allows: an upper bound that needs no data.
WorkSizes LargestWork(const RunConfig& config);

/// The batches that will be made of the data: the same draws that training makes.
class WorkMeter {
 public:
  explicit WorkMeter(const RunConfig& config);
  /// Every site once, in their order.
  void Add(const SiteData& site);
  WorkSizes Sizes() const;

 private:
  struct Length {
    int64_t read = 0, responses = 0;
  };
  static Length LengthOf(const TokenizedExample& example);
  void NoteTrainBatches(const std::vector<Length>& examples, uint64_t site, int64_t scale, WorkSizes& work) const;
  void NoteLossBatches(const std::vector<TokenizedExample>& examples);
  void NotePrompts(const std::vector<std::vector<int32_t>>& prompts);

  FederationOptions federation_;
  bool trains_ = true, pools_ = false;
  int64_t draws_of_a_site_ = 0;  // at least; a round is always drawn to its end
  uint64_t sites_ = 0;
  std::vector<Length> pool_;
  WorkSizes work_;
};

}  // namespace fedalt
