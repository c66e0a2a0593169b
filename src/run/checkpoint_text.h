// What the small texts of a checkpoint say: reading.json, and numbers beside tensors. Nothing in them is believed unseen. No files,
// no libtorch: tests/fuzz/site_records_fuzz.cc reads anything as them. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fedalt {

/// Which version of the others a site reads, and the last one that it refused; 0: none.
struct ReadingRounds {
  int64_t read = 0, refused = 0;
};

std::string ReadingToText(const ReadingRounds& rounds);
/// The inverse. `name`: of the file, for messages. Errors: kOutput.
StatusOr<ReadingRounds> ReadingFromText(std::string_view text, const std::string& name);

/// A count of rounds, sites or the like: decimal, at least 0. `what`: for messages. Errors: kModel.
StatusOr<int64_t> CountFromText(std::string_view text, const std::string& what);
/// A finite number. Errors: kModel.
StatusOr<double> NumberFromText(std::string_view text, const std::string& what);

}  // namespace fedalt
