// What one site may use of a server (docs/operations.md). Who spends its own is told ResourceExhausted and tries again later; the
// others do not notice. Per attempt: it is given back when the next attempt opens.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fedalt::budget {

// Calls, as a bucket that holds one minute's worth.
inline constexpr int64_t kCallsPerMinute = 1'200;        ///< all but those of chunks
inline constexpr int64_t kChunkCallsPerMinute = 12'000;  ///< PutChunk and GetChunk: 200 MiB/s for as long as it likes

// Uploads. On the disk is one at a time: what a replaced or abandoned one left is deleted.
inline constexpr int64_t kManifestsPerAttempt = 16;    ///< contents announced, one after the other
inline constexpr int64_t kUploadCopiesPerAttempt = 4;  ///< bytes of chunks, in sizes of a contribution

// Entries of the audit log and rows of the database.
inline constexpr int64_t kRefusalsPerAttempt = 100;   ///< recorded ones; more are refused without an entry
inline constexpr size_t kWarningsPerAttempt = 5;      ///< different ones to the server's operator; then one that there are more
inline constexpr int64_t kEnrolmentsPerAttempt = 20;  ///< also the departures between them
inline constexpr int64_t kReportsPerAttempt = 10;     ///< of any round

inline constexpr int64_t kMostTrainExamples = 1'000'000'000;

/// So long after a process of a site was heard last, another one with its keys and no state may take its place.
inline constexpr int64_t kProcessSilentMs = 120'000;

}  // namespace fedalt::budget
