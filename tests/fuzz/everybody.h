// What the fuzz targets of server and session share. Included by one source of each.
#pragma once

#include <google/protobuf/stubs/logging.h>

#include "fed/federation.h"

namespace fedalt {

/// A stand-in for the program's own: everybody takes part. fed/federation.cc, where it stands, needs the whole of libtorch.
std::vector<int64_t> CohortOf(const ParticipationOptions&, int64_t sites, int64_t, uint64_t) {
  std::vector<int64_t> cohort;
  for (int64_t k = 0; k < sites; ++k) cohort.push_back(k);
  return cohort;
}

}  // namespace fedalt

/// As the program does (net/grpc_options.cc): protobuf says nothing of messages that are no UTF-8.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}
