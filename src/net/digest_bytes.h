// Digests as bytes, for the parts of the server's state machine.
#pragma once

#include <string>

#include "base/hash.h"
#include "base/status.h"

namespace fedalt {

/// Errors: InvalidArgument.
StatusOr<Sha256Digest> DigestOf(const std::string& bytes);
std::string BytesOf(const Sha256Digest& digest);

}  // namespace fedalt
