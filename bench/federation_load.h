// A server of a federation under load: processes of their own for the server and for its sites, on this machine, over TLS.
#pragma once

#include <cstdint>
#include <filesystem>

namespace fedalt::bench {

struct Load {
  int64_t sites = 0;   ///< that upload at the same time
  int64_t values = 0;  ///< of a contribution, float32
  int64_t idle = 0;    ///< sites that enrolled, are not in the round's cohort, and wait in Poll
};

struct LoadResult {
  double share = 0.0;              ///< seconds of the copy without network over those of the round
  double round_s = 0.0;            ///< from the moment when the round opens until it is closed: uploads and aggregation
  double aggregation_s = 0.0;      ///< of it: reading the contributions, summing, storing the sum
  double copy_s = 0.0;             ///< the same bytes, without network
  double server_cpu_s = 0.0;       ///< processor time of the server for the round, enrolment of the uploaders included
  double copy_cpu_s = 0.0;         ///< that of the copy
  double read_s = 0.0;             ///< from the closing of the round until all uploaders have read and checked the sum
  double peak_mb = 0.0;            ///< the server's greatest resident memory
  double empty_mb = 0.0;           ///< its resident memory when it listens, before the first connection
  double kb_per_connection = 0.0;  ///< what it grew by when `idle` sites were there, over their number
  double connect_s = 0.0;          ///< until all idle sites, which dial at the same time, have enrolled
  double failed_uploads = 0.0;     ///< sites whose upload was not acknowledged, or that did not read the right sum
  double failed_idle = 0.0;        ///< idle sites with a call that failed
  double repeated_calls = 0.0;     ///< calls of uploaders that got no answer and were made again
  double median_poll_ms = 0.0;     ///< of one more site that asks for the state every 20 ms during the round
  double slowest_poll_ms = 0.0;
};

/// Runs the round, then the copy, with files in `directory`, which is removed in the end. Forks: call it before the first thread.
LoadResult MeasureLoad(const Load& load, const std::filesystem::path& directory);

}  // namespace fedalt::bench
