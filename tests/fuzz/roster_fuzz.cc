// links: base
// sources: src/net/roster.cc
//
// Any bytes as roster.json: refused with a reason, or a roster that is well formed and is the same when it is written and read
// again.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "net/roster.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto roster = fedalt::ParseRoster({reinterpret_cast<const char*>(data), size});
  if (!roster.ok()) {
    FEDALT_CHECK(fedalt::KindOf(roster.status()) == fedalt::ErrorKind::kConfig, "an error of the configuration");
    FEDALT_CHECK(!roster.status().message().empty(), "it says why");
    return 0;
  }
  FEDALT_CHECK(fedalt::CheckRoster(*roster).ok(), "what is accepted is well formed");
  const auto again = fedalt::ParseRoster(fedalt::RosterText(*roster));
  FEDALT_CHECK(again.ok() && *again == *roster, "it is read as it was written");
  FEDALT_CHECK(fedalt::RosterHash(*again) == fedalt::RosterHash(*roster), "its hash is that of its content");
  for (size_t k = 0; k < roster->sites.size(); ++k) {
    FEDALT_CHECK(fedalt::FindSiteByName(*roster, roster->sites[k].name) == k, "a name is one site");
    FEDALT_CHECK(fedalt::FindSiteByFingerprint(*roster, roster->sites[k].keys.fingerprint) == k, "a key is one site");
  }
  return 0;
}
