// Numbers that decide something. A loss that is not a finite number decides nothing: it is worse than every finite one.
#pragma once

#include <cmath>

namespace fedalt {

/// Whether loss `a` is better than `b`: never if it is not finite, and always if only `b` is not.
inline bool IsBetterLoss(double a, double b) {
  return std::isfinite(a) && (!std::isfinite(b) || a < b);
}

}  // namespace fedalt
