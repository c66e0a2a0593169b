// A signed head of a log: who saw which history. The server signs the head of its audit log at the end of every round, and each
// site countersigns it, so that no two histories can be shown without somebody's signature under both.
#pragma once

#include <string>
#include <string_view>

#include "base/merkle.h"

namespace fedalt {

/// What a signature under a head covers: "fedalt audit head v1\n" length(run) ":" run "\n" size "\n" hex(root) "\n".
std::string HeadMessage(std::string_view run, const TreeHead& head);

struct SignedHead {
  TreeHead head;
  std::string signer;     ///< "server", or a site's name
  std::string signature;  ///< bytes, of HeadMessage
};

}  // namespace fedalt
