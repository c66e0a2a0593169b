// links: base
// sources: src/fed/round_record.cc
//
// Any bytes as the record of a round: refused with a reason, or a record that is written as it was read.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "fed/round_record.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto record = fedalt::ParseRecord(bytes);
  if (!record.ok()) {
    FEDALT_CHECK(fedalt::KindOf(record.status()) == fedalt::ErrorKind::kIntegrity, "an error of integrity");
    FEDALT_CHECK(!record.status().message().empty(), "it says why");
    return 0;
  }
  FEDALT_CHECK(fedalt::EncodeRecord(*record) == bytes, "it is written as it was read");
  FEDALT_CHECK(record->total_weight > 0.0 && std::isfinite(record->total_weight), "its weight");
  FEDALT_CHECK(!record->contributors.empty() && !record->contents.empty(), "somebody is in it, and something came of it");
  for (const auto& of : record->contributors) FEDALT_CHECK(record->ContributionOf(of.site) == &of, "a site is in it once");
  return 0;
}
