// Who trains in a round.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fed/options.h"

namespace fedalt {

/// The sites (by place in `sites`, ascending) that train in `round` (1-based): a function of seed, round and their names. Each site
/// draws a number by its name, and the least ones take part, so the order of `sites` changes nothing.
std::vector<int64_t> CohortOf(const ParticipationOptions& participation, const std::vector<std::string>& sites, int64_t round,
                              uint64_t seed);

}  // namespace fedalt
