// Beam search as Hugging Face transformers 5 does it (generation/utils.py, _beam_search) with early_stopping=False.
//
// Per prompt, at each step: of all continuations of the running beams take the best max(2, 1 + number of EOS ids) * beams. Those
// that end (EOS, or no room left) and are among the best `beams` compete, by score / length^length_penalty, for the `beams`
// finished places. The best that do not end run on. A prompt is done when its finished places are full and the best running beam,
// scored at its present length, does not beat the worst of them. Scores are float32 and added in the same order as in the original.
#include <algorithm>
#include <cmath>
#include <limits>

#include "model/best_continuations.h"
#include "model/generate_batch.h"

namespace fedalt {
namespace {

struct Hypothesis {
  std::vector<int32_t> tokens;
  float score = 0.0f;
};

struct Candidate {
  float score = 0.0f;
  size_t beam = 0;  // among the prompt's running beams
  int32_t token = 0;
};

struct Search {
  size_t result = 0;                 // position in the batch
  std::vector<Hypothesis> running;   // best first; score: sum of log probabilities
  std::vector<Hypothesis> finished;  // best first; score: normalised
  size_t first_row = 0;              // of its beams in the cache
};

std::vector<Candidate> BestCandidates(const Search& search, const BestContinuations& best, size_t keep) {
  std::vector<Candidate> candidates;
  const int64_t width = best.ids_nk.size(1);
  for (size_t beam = 0; beam < search.running.size(); ++beam) {
    const int64_t row = static_cast<int64_t>(search.first_row + beam) * width;
    for (int64_t i = 0; i < width; ++i) {
      const float score = best.log_p_nk.data_ptr<float>()[row + i] + search.running[beam].score;
      candidates.push_back({std::isnan(score) ? -std::numeric_limits<float>::infinity() : score, beam,
                            static_cast<int32_t>(best.ids_nk.data_ptr<int64_t>()[row + i])});
    }
  }
  std::stable_sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
  candidates.resize(std::min(candidates.size(), keep));
  return candidates;
}

void AddFinished(Search& search, Hypothesis hypothesis, size_t beams) {
  const auto place = std::upper_bound(search.finished.begin(), search.finished.end(), hypothesis,
                                      [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
  search.finished.insert(place, std::move(hypothesis));
  if (search.finished.size() > beams) search.finished.pop_back();
}

// One step of one prompt; `parents` receives the cache rows of the beams that run on. False: the prompt is done.
bool Advance(Search& search, const std::vector<Candidate>& candidates, const GenerateOptions& options, int64_t length,
             std::vector<int64_t>& parents) {
  const size_t beams = static_cast<size_t>(options.beams);
  const float norm = static_cast<float>(std::pow(static_cast<double>(length), options.length_penalty));
  const bool no_room = length >= options.max_new_tokens;
  std::vector<Hypothesis> running;
  std::vector<int64_t> rows;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const Candidate& c = candidates[i];
    const bool eos = IsEos(options, c.token);
    const bool ends = eos || no_room;
    if (ends ? i >= beams : running.size() >= beams) continue;
    Hypothesis next{search.running[c.beam].tokens, ends ? c.score / norm : c.score};
    if (!eos) next.tokens.push_back(c.token);
    if (ends) {
      AddFinished(search, std::move(next), beams);
    } else {
      running.push_back(std::move(next));
      rows.push_back(static_cast<int64_t>(search.first_row + c.beam));
    }
  }
  search.running = std::move(running);
  if (search.running.empty()) return false;
  const bool full = search.finished.size() == beams;
  if (full && !(search.running.front().score / norm > search.finished.back().score)) return false;
  parents.insert(parents.end(), rows.begin(), rows.end());
  return true;
}

}  // namespace

StatusOr<std::vector<std::vector<int32_t>>> BeamSearchBatch(const GenerateBatch& batch) {
  const GenerateOptions& options = batch.options;
  const size_t count = batch.indices.size();
  std::vector<std::vector<int32_t>> out(count), runs;
  if (options.max_new_tokens == 0) return out;
  KvCache cache(batch.model.config(), static_cast<int64_t>(count) * options.beams, CacheCapacity(batch), batch.model.dtype(),
                batch.model.device());
  const int64_t keep = options.beams * std::max<int64_t>(2, 1 + static_cast<int64_t>(options.eos_ids.size()));
  std::vector<Search> searches(count);
  std::vector<int64_t> parents;
  for (size_t i = 0; i < count; ++i) {
    searches[i].result = searches[i].first_row = i;
    searches[i].running.emplace_back();
    runs.push_back(batch.prompts[batch.indices[i]]);
    parents.push_back(static_cast<int64_t>(i));
  }
  cache.Reorder(parents);  // one sequence per prompt so far
  for (int64_t length = 1; !searches.empty(); ++length) {
    ASSIGN_OR_RETURN(const NextTokens next, ScoreNext(batch, runs, cache));
    const BestContinuations best = FindBestContinuations(next.logits_nv, std::min(keep, next.logits_nv.size(1)));
    std::vector<Search> open;
    parents.clear();
    runs.clear();
    for (Search& search : searches) {
      const size_t first_row = parents.size();
      if (Advance(search, BestCandidates(search, best, static_cast<size_t>(keep)), options, length, parents)) {
        for (const Hypothesis& beam : search.running) runs.push_back({beam.tokens.back()});
        search.first_row = first_row;
        open.push_back(std::move(search));
      } else if (!search.finished.empty()) {
        out[search.result] = std::move(search.finished.front().tokens);
      }
    }
    searches = std::move(open);
    if (!searches.empty()) cache.Reorder(parents);
  }
  return out;
}

}  // namespace fedalt
