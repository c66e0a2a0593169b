#include "run/work_sizes.h"

#include <algorithm>

#include "data/packed_batch.h"
#include "fed/method.h"

namespace fedalt {
namespace {

/// Places that one sequence writes keys and values to, beside the prompt's. Beams that take over each other's slots leave some of
/// them unused: about twice as many were touched as tokens are written.
int64_t NewPlaces(const GenerateOptions& options) {
  return (options.beams > 1 ? 2 : 1) * options.max_new_tokens;
}

}  // namespace

WorkSizes LargestWork(const RunConfig& config) {
  const GenerateOptions& generate = config.federation.eval.options.generate;
  WorkSizes work;
  work.train_tokens = work.train_responses = config.federation.train.batch_size * config.max_length;
  work.loss_tokens = work.loss_responses = config.federation.eval.options.loss_batch_size * config.max_length;
  if (config.federation.eval.options.generate_answers) {
    work.prompts = generate.batch_size;
    work.prompt_tokens = generate.batch_size * std::max<int64_t>(1, config.max_length - generate.max_new_tokens);
    work.cached_tokens = work.prompt_tokens + generate.batch_size * generate.beams * NewPlaces(generate);
  }
  return work;
}

WorkMeter::WorkMeter(const RunConfig& config) : federation_(config.federation) {
  // Drawing costs less than a thousandth of training, but it is all done at the start. A run that draws more than this has met its
  // largest batches, or nearly.
  constexpr int64_t kEnoughDraws = 5'000'000;
  draws_of_a_site_ = kEnoughDraws / std::max<int64_t>(1, static_cast<int64_t>(config.sites.size()));
  const auto method = MakeMethod(federation_.method);
  trains_ = method.ok() && (*method)->trains();
  pools_ = method.ok() && (*method)->pools_data();
}

void WorkMeter::Add(const SiteData& site) {
  ++sites_;
  NoteLossBatches(site.test.tokenized);
  NoteLossBatches(site.validation);
  if (federation_.eval.options.generate_answers) NotePrompts(site.test.prompts);
  if (!trains_) return;
  std::vector<Length> own;
  std::vector<Length>& lengths = pools_ ? pool_ : own;
  for (const TokenizedExample& example : site.train) lengths.push_back(LengthOf(example));
  if (!pools_) NoteTrainBatches(own, SiteAddress(site.name), 1, work_);
}

WorkSizes WorkMeter::Sizes() const {
  WorkSizes work = work_;
  if (trains_ && pools_) NoteTrainBatches(pool_, SiteAddress(kPooledSite), static_cast<int64_t>(sites_), work);
  return work;
}

WorkMeter::Length WorkMeter::LengthOf(const TokenizedExample& example) {
  const auto tokens = static_cast<int64_t>(example.tokens.size());
  return {tokens - 1, tokens - example.response_begin};  // the last is predicted but never read
}

/// The batches that TrainLocalPass will draw, in all rounds that a run of usual length has.
void WorkMeter::NoteTrainBatches(const std::vector<Length>& examples, uint64_t site, int64_t scale, WorkSizes& work) const {
  const TrainOptions& train = federation_.train;
  int64_t draws = 0;
  for (int64_t round = 1; round <= federation_.rounds && draws <= draws_of_a_site_ && !examples.empty(); ++round) {
    const int64_t steps =
        scale * (federation_.round_steps.empty() ? train.steps : federation_.round_steps[static_cast<size_t>(round - 1)]);
    const BatchPlan plan{federation_.seed, site, static_cast<uint64_t>(round), train.local_epochs, steps * train.accumulate,
                         train.batch_size};
    for (const std::vector<int64_t>& batch : PlanBatches(static_cast<int64_t>(examples.size()), plan)) {
      Length sum;
      for (const int64_t i : batch) {
        sum.read += examples[static_cast<size_t>(i)].read;
        sum.responses += examples[static_cast<size_t>(i)].responses;
      }
      draws += static_cast<int64_t>(batch.size());
      work.train_tokens = std::max(work.train_tokens, sum.read);
      work.train_responses = std::max(work.train_responses, sum.responses);
    }
  }
}

/// The largest batches that consecutive examples make (evaluation keeps the order).
void WorkMeter::NoteLossBatches(const std::vector<TokenizedExample>& examples) {
  const auto batch_size = static_cast<size_t>(federation_.eval.options.loss_batch_size);
  for (size_t begin = 0; begin < examples.size(); begin += batch_size) {
    Length sum;
    for (size_t i = begin; i < std::min(examples.size(), begin + batch_size); ++i) {
      sum.read += LengthOf(examples[i]).read;
      sum.responses += LengthOf(examples[i]).responses;
    }
    work_.loss_tokens = std::max(work_.loss_tokens, sum.read);
    work_.loss_responses = std::max(work_.loss_responses, sum.responses);
  }
}

/// Generation sorts the prompts by length, so the last batch has the longest.
void WorkMeter::NotePrompts(const std::vector<std::vector<int32_t>>& prompts) {
  const GenerateOptions& options = federation_.eval.options.generate;
  std::vector<int64_t> lengths;
  lengths.reserve(prompts.size());
  for (const auto& prompt : prompts) lengths.push_back(static_cast<int64_t>(prompt.size()));
  std::sort(lengths.begin(), lengths.end());
  for (size_t begin = 0; begin < lengths.size(); begin += static_cast<size_t>(options.batch_size)) {
    const size_t end = std::min(lengths.size(), begin + static_cast<size_t>(options.batch_size));
    int64_t tokens = 0;
    for (size_t i = begin; i < end; ++i) tokens += lengths[i];
    const auto count = static_cast<int64_t>(end - begin);
    work_.prompts = std::max(work_.prompts, count);
    work_.prompt_tokens = std::max(work_.prompt_tokens, tokens);
    work_.cached_tokens = std::max(work_.cached_tokens, tokens + count * options.beams * NewPlaces(options));
  }
}

}  // namespace fedalt
