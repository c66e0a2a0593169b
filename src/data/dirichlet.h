// Draws from a symmetric Dirichlet distribution, addressed like every other random number (base/random.h).
#pragma once

#include <vector>

#include "base/random.h"

namespace fedalt {

/// The logarithm of one draw from Gamma(shape, 1), shape > 0 and finite: of the draw itself a small shape leaves 0. Uses draws 0,
/// 1,
/// ... of `stream`, as many as it takes (Marsaglia and Tsang, ACM TOMS 26, 2000, with their step for shapes below 1).
double LogGammaDraw(const RandomStream& stream, double shape);

/// Shares that add up to 1, drawn from Dir(alpha, ..., alpha): one from each stream. At least one stream, alpha > 0 and finite.
std::vector<double> DirichletShares(const std::vector<RandomStream>& streams, double alpha);

}  // namespace fedalt
