#include "fed/site_workers.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <thread>

#include "train/library_errors.h"

namespace fedalt {

Status ForEachSite(const std::vector<int64_t>& sites, const std::vector<int64_t>& cost, int64_t at_once,
                   const std::function<Status(int64_t)>& work) {
  std::vector<size_t> order(sites.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (at_once > 1)
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return cost[static_cast<size_t>(sites[a])] > cost[static_cast<size_t>(sites[b])]; });
  std::vector<Status> statuses(sites.size(), absl::OkStatus());
  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  const auto work_through = [&] {
    for (size_t i = next++; i < order.size() && !failed; i = next++)
      if (statuses[order[i]] = CatchLibraryErrors("a site's work", [&] { return work(sites[order[i]]); }); !statuses[order[i]].ok())
        failed = true;
  };
  if (at_once <= 1) {
    work_through();
  } else {
    // A site gets its share of the cores also where fewer sites are at work: its bits do not depend on how many others there are.
    const int cores_each = std::max(1, at::get_num_threads() / static_cast<int>(at_once));
    std::vector<std::thread> workers;
    for (size_t t = 0; t < std::min(static_cast<size_t>(at_once), sites.size()); ++t)
      workers.emplace_back([&] {
        at::set_num_threads(cores_each);  // per calling thread: libtorch and OpenBLAS both read OpenMP's setting of this thread
        work_through();
      });
    for (std::thread& worker : workers) worker.join();
  }
  for (const Status& status : statuses) RETURN_IF_ERROR(status);
  return absl::OkStatus();
}

}  // namespace fedalt
