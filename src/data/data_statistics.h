// What data look like: labels and how unlike they are between sites, lengths, prompts that stand in two places. All functions are
// pure; `fedalt data stats` and `fedalt doctor` print them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "data/dataset.h"

namespace fedalt {

/// The label of an example: its output without white space at both ends.
std::string LabelOf(const Example& example);

/// How often each text (a label, a tag) occurs.
using Counts = std::map<std::string, int64_t>;
Counts CountLabels(const std::vector<Example>& examples);
/// Tags; examples without one count as "".
Counts CountTags(const std::vector<Example>& examples);

/// The `most` most frequent, most frequent first, equal ones by text.
std::vector<std::pair<std::string, int64_t>> MostFrequent(const Counts& counts, size_t most);

/// Total variation distance of the two distributions: half the sum of |p - q|, from 0 (the same) to 1 (nothing in common). Counts
/// that are empty have distance 0 to all.
double TotalVariation(const Counts& a, const Counts& b);

struct LengthSummary {
  int64_t count = 0;
  int64_t shortest = 0, median = 0, p95 = 0, longest = 0;  ///< percentiles by nearest rank
  double mean = 0.0;
};
LengthSummary Summarize(std::vector<int64_t> lengths);

/// Characters (Unicode code points) of instruction and input together.
int64_t PromptCharacters(const Example& example);
/// Characters of valid UTF-8.
int64_t Characters(const std::string& text);

/// Prompts as 64-bit names (StableId of instruction and input), so that those of many sites fit into memory.
using PromptSet = std::unordered_set<uint64_t>;
uint64_t PromptId(const Example& example);
PromptSet PromptsOf(const std::vector<Example>& examples);
/// How many of the examples have a prompt (instruction and input, byte for byte) that is in the set.
int64_t CountIn(const std::vector<Example>& examples, const PromptSet& prompts);

}  // namespace fedalt
