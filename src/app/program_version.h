#pragma once

namespace fedalt {

/// Name and version of this program.
inline constexpr char kProgramVersion[] = "fedalt 0.1.0";

}  // namespace fedalt
