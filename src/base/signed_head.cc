#include "base/signed_head.h"

#include "base/status.h"

namespace fedalt {

std::string HeadMessage(std::string_view run, const TreeHead& head) {
  return absl::StrCat("fedalt audit head v1\n", run.size(), ":", std::string(run), "\n", head.size, "\n", HexOf(head.root), "\n");
}

}  // namespace fedalt
