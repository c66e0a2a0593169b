// A stand-in for the program's own: everybody takes part. fed/federation.cc, where it stands, needs the whole of libtorch. Included
// by one source of a fuzz target.
#pragma once

#include "fed/federation.h"

namespace fedalt {

std::vector<int64_t> CohortOf(const ParticipationOptions&, int64_t sites, int64_t, uint64_t) {
  std::vector<int64_t> cohort;
  for (int64_t k = 0; k < sites; ++k) cohort.push_back(k);
  return cohort;
}

}  // namespace fedalt
