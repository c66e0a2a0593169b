// Beam search as Hugging Face transformers 5 does it (generation/utils.py, _beam_search) with early_stopping=False.
//
// Per prompt, at each step: of all continuations of the running beams take the best max(2, 1 + number of EOS ids) * beams. Those
// that end (EOS, or no room left) and are among the best `beams` compete, by score / length^length_penalty, for the `beams`
// finished places. The best that do not end run on. A prompt is done when its finished places are full and the best running beam,
// scored at its present length, does not beat the worst of them. Scores are float32 and added in the same order as in the original.
#include <algorithm>
#include <cmath>
#include <limits>

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

std::vector<Candidate> BestCandidates(const Search& search, const at::Tensor& scores, const at::Tensor& ids, size_t keep) {
  std::vector<Candidate> candidates;
  const int64_t width = scores.size(1);
  for (size_t beam = 0; beam < search.running.size(); ++beam) {
    const int64_t row = static_cast<int64_t>(search.first_row + beam) * width;
    for (int64_t i = 0; i < width; ++i) {
      const float score = scores.data_ptr<float>()[row + i];
      candidates.push_back({std::isnan(score) ? -std::numeric_limits<float>::infinity() : score, beam,
                            static_cast<int32_t>(ids.data_ptr<int64_t>()[row + i])});
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

std::vector<std::vector<int32_t>> BeamSearchBatch(const GenerateBatch& batch) {
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
    const at::Tensor log_p = at::log_softmax(NextLogits(batch, runs, cache).to(at::kFloat), 1);
    at::Tensor sums = at::empty({log_p.size(0), 1}, at::kFloat);
    for (const Search& s : searches)
      for (size_t b = 0; b < s.running.size(); ++b) sums.data_ptr<float>()[s.first_row + b] = s.running[b].score;
    const auto [scores, ids] = at::topk(log_p + sums.to(log_p.device()), std::min(keep, log_p.size(1)), 1);
    const at::Tensor scores_rk = scores.cpu().contiguous(), ids_rk = ids.cpu().contiguous();
    std::vector<Search> open;
    parents.clear();
    runs.clear();
    for (Search& search : searches) {
      const size_t first_row = parents.size();
      if (Advance(search, BestCandidates(search, scores_rk, ids_rk, static_cast<size_t>(keep)), options, length, parents)) {
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
