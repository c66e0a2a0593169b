#include "fed/site_workers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "base/status.h"

namespace fedalt {
namespace {

std::vector<int64_t> Order(int64_t at_once, const std::vector<int64_t>& sites, const std::vector<int64_t>& cost) {
  std::mutex mutex;
  std::vector<int64_t> begun;
  const Status status = ForEachSite(sites, cost, at_once, [&](int64_t k) {
    std::lock_guard<std::mutex> lock(mutex);
    begun.push_back(k);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return begun;
}

TEST(ForEachSite, OneAtATimeKeepsTheOrder) {
  EXPECT_EQ(Order(1, {2, 0, 1}, {5, 9, 7}), (std::vector<int64_t>{2, 0, 1}));
  EXPECT_TRUE(Order(1, {}, {}).empty());
  EXPECT_TRUE(Order(4, {}, {}).empty());
}

TEST(ForEachSite, SeveralAtOnceWorkOnEverySiteOnce) {
  std::vector<int64_t> begun = Order(3, {4, 3, 1, 0}, {1, 5, 0, 7, 7});
  std::sort(begun.begin(), begun.end());
  EXPECT_EQ(begun, (std::vector<int64_t>{0, 1, 3, 4}));
}

// Two threads that wait for each other's first site: these two must be the longest.
TEST(ForEachSite, TheLongestComeFirst) {
  std::mutex mutex;
  std::condition_variable both;
  std::vector<int64_t> begun;
  const Status status = ForEachSite({0, 1, 2, 3}, {10, 40, 20, 30}, 2, [&](int64_t k) {
    std::unique_lock<std::mutex> lock(mutex);
    begun.push_back(k);
    both.notify_all();
    both.wait(lock, [&] { return begun.size() >= 2; });
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  ASSERT_EQ(begun.size(), 4u);
  std::sort(begun.begin(), begun.begin() + 2);
  EXPECT_EQ(begun[0], 1);
  EXPECT_EQ(begun[1], 3);
}

TEST(ForEachSite, AnErrorEndsIt) {
  for (const int64_t at_once : {1, 2}) {
    std::mutex mutex;
    int64_t begun = 0;
    const Status status =
        ForEachSite(std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7}, std::vector<int64_t>(8, 1), at_once, [&](int64_t k) {
          std::lock_guard<std::mutex> lock(mutex);
          ++begun;
          return DataError(absl::StrCat("site ", k));
        });
    EXPECT_EQ(KindOf(status), ErrorKind::kData);
    if (at_once == 1) {
      EXPECT_EQ(status.message(), "site 0");
    }
    EXPECT_GE(begun, 1);
    EXPECT_LE(begun, at_once);
  }
}

}  // namespace
}  // namespace fedalt
