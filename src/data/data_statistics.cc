#include "data/data_statistics.h"

#include <absl/strings/ascii.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/random.h"

namespace fedalt {
namespace {

int64_t Sum(const Counts& counts) {
  int64_t sum = 0;
  for (const auto& [text, count] : counts) sum += count;
  return sum;
}

/// The least value that at least this share of the sorted values do not exceed.
int64_t NearestRank(const std::vector<int64_t>& sorted, double share) {
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::clamp<size_t>(rank, 1, sorted.size()) - 1];
}

}  // namespace

std::string LabelOf(const Example& example) {
  return std::string(absl::StripAsciiWhitespace(example.output));
}

Counts CountLabels(const std::vector<Example>& examples) {
  Counts counts;
  for (const Example& example : examples) ++counts[LabelOf(example)];
  return counts;
}

Counts CountTags(const std::vector<Example>& examples) {
  Counts counts;
  for (const Example& example : examples) ++counts[example.tag];
  return counts;
}

std::vector<std::pair<std::string, int64_t>> MostFrequent(const Counts& counts, size_t most) {
  std::vector<std::pair<std::string, int64_t>> list(counts.begin(), counts.end());
  std::stable_sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  if (list.size() > most) list.resize(most);
  return list;
}

double TotalVariation(const Counts& a, const Counts& b) {
  const auto sum_a = static_cast<double>(Sum(a)), sum_b = static_cast<double>(Sum(b));
  if (sum_a == 0.0 || sum_b == 0.0) return 0.0;
  double distance = 0.0, common_b = 0.0;
  for (const auto& [text, count] : a) {
    const auto it = b.find(text);
    const double share_b = it == b.end() ? 0.0 : static_cast<double>(it->second) / sum_b;
    distance += std::abs(static_cast<double>(count) / sum_a - share_b);
    common_b += share_b;
  }
  return std::clamp((distance + 1.0 - common_b) / 2.0, 0.0, 1.0);
}

LengthSummary Summarize(std::vector<int64_t> lengths) {
  LengthSummary summary;
  if (lengths.empty()) return summary;
  std::sort(lengths.begin(), lengths.end());
  summary.count = static_cast<int64_t>(lengths.size());
  summary.shortest = lengths.front();
  summary.median = NearestRank(lengths, 0.5);
  summary.p95 = NearestRank(lengths, 0.95);
  summary.longest = lengths.back();
  summary.mean =
      static_cast<double>(std::accumulate(lengths.begin(), lengths.end(), int64_t{0})) / static_cast<double>(lengths.size());
  return summary;
}

int64_t Characters(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

int64_t PromptCharacters(const Example& example) {
  return Characters(example.instruction) + Characters(example.input);
}

uint64_t PromptId(const Example& example) {
  // The length in front keeps ("ab", "c") and ("a", "bc") apart.
  return StableId(absl::StrCat(example.instruction.size(), " ", example.instruction, example.input));
}

PromptSet PromptsOf(const std::vector<Example>& examples) {
  PromptSet prompts;
  for (const Example& example : examples) prompts.insert(PromptId(example));
  return prompts;
}

int64_t CountIn(const std::vector<Example>& examples, const PromptSet& prompts) {
  return std::count_if(examples.begin(), examples.end(),
                       [&](const Example& example) { return prompts.count(PromptId(example)) > 0; });
}

}  // namespace fedalt
