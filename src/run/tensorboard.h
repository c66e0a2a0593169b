// TensorBoard's event files: the scalars of metrics.jsonl, one file per site and one for the mean over sites.
//
// A file is a function of the lines of metrics.jsonl and of nothing else. A round is a step, and the wall time of its event, which
// TensorBoard wants, is the round in seconds after the start of 1970: there is no clock in it, so equal metrics give equal bytes,
// and what a crash left can be put right from metrics.jsonl alone.
//
// Formats, written by hand:
//   records   little-endian length (8 bytes), its masked CRC-32C, the data, their masked CRC-32C
//             (tensorflow/core/lib/io/record_writer.h; the mask: tensorflow/core/lib/hash/crc32c.h)
//   data      protobuf messages Event and Summary (tensorboard/compat/proto/event.proto and summary.proto; the wire format:
//             protobuf.dev/programming-guides/encoding)
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "run/results_json.h"
#include "run/run_directory.h"

namespace fedalt {

/// With more sites than this only the mean has a file: nobody looks at thousands of curves, and each is a file to open every round.
inline constexpr size_t kMaxSitesWithEvents = 64;

/// The record that a file begins with: the version of the format.
std::string EventFileHeader();

/// One line of metrics.jsonl as the record of one event. What was not measured has no scalar; without any the result is empty.
std::string EventRecord(const OrderedJson& line);

/// Appends a round to the files, which are made if needed. `lines`: the sites', then the mean's. Errors: kOutput.
Status AppendEvents(const RunDirectory& directory, const std::vector<OrderedJson>& lines);

/// Makes the files say what metrics.jsonl says, after it was cut back to the last closed round. A file that merely goes on beyond
/// it is cut in place, so that a TensorBoard that is looking keeps its hold. Errors: kOutput (metrics.jsonl is damaged; a file
/// cannot be written).
Status RestoreEvents(const RunDirectory& directory);

}  // namespace fedalt
