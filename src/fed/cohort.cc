#include "fed/cohort.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "base/random.h"

namespace fedalt {

std::vector<int64_t> CohortOf(const ParticipationOptions& participation, const std::vector<std::string>& sites, int64_t round,
                              uint64_t seed) {
  const auto all = static_cast<int64_t>(sites.size());
  int64_t count = participation.count;
  if (count <= 0) count = std::llround(participation.fraction * static_cast<double>(all));
  count = std::clamp<int64_t>(count, 1, all);
  std::vector<std::tuple<uint64_t, std::string, int64_t>> drawn;
  for (int64_t k = 0; k < all; ++k) {
    const std::string& name = sites[static_cast<size_t>(k)];
    const RandomStream stream(seed, RandomPurpose::kParticipation, {static_cast<uint64_t>(round), SiteAddress(name)});
    drawn.emplace_back(stream.Bits(0), name, k);
  }
  std::sort(drawn.begin(), drawn.end());
  drawn.resize(static_cast<size_t>(count));
  std::vector<int64_t> cohort;
  for (const auto& [draw, name, k] : drawn) cohort.push_back(k);
  std::sort(cohort.begin(), cohort.end());
  return cohort;
}

}  // namespace fedalt
