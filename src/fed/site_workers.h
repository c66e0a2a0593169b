// Works on several sites at once, each on its share of the cores.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/status.h"

namespace fedalt {

/// `work(k)` for every site k of `sites`, on up to `at_once` threads; if there are several, the sites with the greatest cost[k]
/// come first, so that no thread is left alone with a long one at the end. After an error no further site is begun; of
/// several errors, that of the site that stands first in `sites` is returned.
Status ForEachSite(const std::vector<int64_t>& sites, const std::vector<int64_t>& cost, int64_t at_once,
                   const std::function<Status(int64_t)>& work);

}  // namespace fedalt
