// Signatures under what server and sites say of a run, by the signing keys of the roster.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace fedalt {

struct Signatures {
  static constexpr int64_t kServer = -1;
  /// By the own key; 64 bytes.
  std::function<std::string(std::string_view message)> sign;
  /// `signer`: the place of a site, or kServer.
  std::function<bool(int64_t signer, std::string_view message, std::string_view signature)> verifies;
};

/// What a server signs when it begins to work on a run: that it is number `start` to do so, and which process it is. A server that
/// is shown a later one, with a good signature, stops: two never work on one run.
inline std::string StartMessage(std::string_view run, int64_t start, std::string_view instance) {
  return absl::StrCat("fedalt server start v1\n", run.size(), ":", std::string(run), "\n", start, "\n", instance.size(), ":",
                      std::string(instance), "\n");
}

}  // namespace fedalt
