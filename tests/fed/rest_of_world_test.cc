// The rest of world from the published sum, against the naive mean of the others in double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "base/random.h"
#include "fed/cohort.h"
#include "fed/fedalt.h"
#include "fed/federation.h"
#include "fed/flat.h"
#include "fed/local_transport.h"

namespace fedalt {
namespace {

using testing::Flat;
using testing::Numbers;

constexpr size_t kLength = 257;

std::vector<float> Theta(uint64_t site, uint64_t round, double scale = 0.1) {
  const RandomStream stream(11, RandomPurpose::kData, {site, round});
  std::vector<float> values(kLength);
  for (size_t i = 0; i < kLength; ++i) values[i] = static_cast<float>(scale * (2.0 * stream.Uniform(i) - 1.0));
  return values;
}

double Weight(uint64_t site, bool uniform) {
  return uniform ? 1.0 : static_cast<double>(100 + (site * 7919) % 300);
}

struct Ledger {
  std::vector<std::vector<float>> theta;
  std::vector<double> weight;
  std::vector<bool> present;
};

void ExpectNaiveMean(const Ledger& ledger, const Published& sum) {
  const auto n = static_cast<int64_t>(ledger.theta.size());
  // The total once, in long double; each site's naive mean of the others follows from it without the float32 sum.
  for (int64_t k = 0; k < n; ++k) {
    if (n > 50 && k % 97 != 0 && k != n - 1) continue;
    const auto uk = static_cast<size_t>(k);
    std::vector<double> naive(kLength, 0.0);
    double total = 0.0;
    for (size_t j = 0; j < ledger.theta.size(); ++j) {
      if (j == uk || !ledger.present[j]) continue;
      total += ledger.weight[j];
      for (size_t i = 0; i < kLength; ++i) naive[i] += ledger.weight[j] * static_cast<double>(ledger.theta[j][i]);
    }
    double largest = 0.0;
    for (double& value : naive) {
      value = total > 0 ? value / total : 0.0;
      largest = std::max(largest, std::abs(value));
    }
    const LedgerEntry own = ledger.present[uk] ? LedgerEntry{Flat(ledger.theta[uk]), ledger.weight[uk]} : LedgerEntry{};
    const std::vector<float> others = Numbers(RestOfWorld(sum, own));
    for (size_t i = 0; i < kLength; ++i)
      ASSERT_NEAR(others[i], naive[i], 1e-6 * largest) << "site " << k << " of " << n << ", value " << i;
  }
}

TEST(RestOfWorld, EqualsTheNaiveMeanOfTheOthers) {
  for (const int64_t n : {2, 3, 8, 50, 1000})
    for (const bool uniform : {true, false})
      for (const bool absentees : {false, true}) {
        LocalTransport transport(LedgerPolicy::kKeepAbsent);
        Ledger ledger{std::vector<std::vector<float>>(static_cast<size_t>(n)), std::vector<double>(static_cast<size_t>(n)),
                      std::vector<bool>(static_cast<size_t>(n), false)};
        Published sum;
        for (uint64_t round = 1; round <= 3; ++round) {
          for (uint64_t k = 0; k < static_cast<uint64_t>(n); ++k) {
            ledger.weight[k] = Weight(k, uniform);
            // Some sites miss rounds: one always, others now and then; their last contribution stays.
            const bool absent = absentees && n > 2 && (k == 1 || (k + round) % 3 == 0);
            if (absent && !ledger.present[k]) continue;
            if (!absent) ledger.theta[k] = Theta(k, round);
            ledger.present[k] = true;
            const Upload upload{static_cast<int64_t>(round), static_cast<int64_t>(k), ledger.weight[k], Flat(ledger.theta[k])};
            ASSERT_TRUE((absent ? transport.Keep(upload) : transport.Send(upload)).ok());
          }
          auto closed = transport.CloseRound(static_cast<int64_t>(round));
          ASSERT_TRUE(closed.ok());
          sum = *closed;
        }
        EXPECT_EQ(sum.contributors, std::count(ledger.present.begin(), ledger.present.end(), true));
        ExpectNaiveMean(ledger, sum);
      }
}

TEST(RestOfWorld, IsZeroWithoutOthers) {
  LocalTransport transport(LedgerPolicy::kKeepAbsent);
  const std::vector<float> theta = Theta(0, 1);
  ASSERT_TRUE(transport.Send({1, 0, 5.0, Flat(theta)}).ok());
  const auto sum = transport.CloseRound(1);
  ASSERT_TRUE(sum.ok());
  for (float value : Numbers(RestOfWorld(*sum, {Flat(theta), 5.0}))) EXPECT_EQ(value, 0.0f);
}

TEST(RestOfWorld, OfANewcomerIsTheMeanOfAll) {
  LocalTransport transport(LedgerPolicy::kKeepAbsent);
  const std::vector<float> a = Theta(0, 1), b = Theta(1, 1);
  ASSERT_TRUE(transport.Send({1, 0, 1.0, Flat(a)}).ok());
  ASSERT_TRUE(transport.Send({1, 1, 3.0, Flat(b)}).ok());
  const auto sum = transport.CloseRound(1);
  const std::vector<float> others = Numbers(RestOfWorld(*sum, {}));
  for (size_t i = 0; i < kLength; ++i) EXPECT_NEAR(others[i], (a[i] + 3.0 * b[i]) / 4.0, 1e-7);
}

TEST(LocalTransport, CountsASiteOnce) {
  LocalTransport transport(LedgerPolicy::kKeepAbsent);
  const std::vector<float> theta = Theta(0, 1);
  ASSERT_TRUE(transport.Send({1, 0, 1.0, Flat(theta)}).ok());
  for (const Status& other : {transport.Send({1, 0, 1.0, Flat(theta)}), transport.Keep({1, 0, 1.0, Flat(Theta(0, 2))})}) {
    ASSERT_FALSE(other.ok());
    EXPECT_NE(other.message().find("a second contribution for round 1"), absl::string_view::npos);
  }
  const auto sum = transport.CloseRound(1);
  EXPECT_EQ(sum->contributors, 1);
  EXPECT_EQ(Numbers(sum->values), theta);
}

TEST(LocalTransport, RefusesAnotherLengthAndKeepsTheSum) {
  LocalTransport transport(LedgerPolicy::kKeepAbsent);
  ASSERT_TRUE(transport.Send({1, 0, 1.0, Flat(Theta(0, 1))}).ok());
  EXPECT_FALSE(transport.Send({1, 1, 1.0, Flat({1.0f, 2.0f})}).ok());
  EXPECT_EQ(Numbers(transport.CloseRound(1)->values), Theta(0, 1));
}

TEST(LocalTransport, NamesTheSiteWhoseValuesTheSumRefuses) {
  for (const int64_t bad : {0, 2, 5}) {
    LocalTransport transport(LedgerPolicy::kKeepAbsent);
    Status status = absl::OkStatus();
    for (int64_t k = 0; k < 7 && status.ok(); ++k) {
      std::vector<float> theta = Theta(static_cast<uint64_t>(k), 1);
      if (k == bad) theta[3] = INFINITY;
      status = transport.Send({1, k, 1.0, Flat(theta)});
    }
    if (status.ok()) status = transport.CloseRound(1).status();
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(KindOf(status), ErrorKind::kTraining);
    EXPECT_NE(status.message().find(absl::StrCat("site ", bad, ": the contribution's value 3 is inf")), absl::string_view::npos)
        << status.message();
  }
}

TEST(LocalTransport, BeginsEachRoundAnewAndKeepsTheAbsentOnlyWhereTheMethodSaysSo) {
  for (const auto& [policy, contributors] : {std::pair{LedgerPolicy::kKeepAbsent, 2}, std::pair{LedgerPolicy::kCohortOnly, 1}}) {
    LocalTransport transport(policy);
    ASSERT_TRUE(transport.Send({1, 0, 1.0, Flat(Theta(0, 1))}).ok());
    ASSERT_TRUE(transport.CloseRound(1).ok());
    ASSERT_TRUE(transport.Send({2, 1, 2.0, Flat(Theta(1, 2))}).ok());
    ASSERT_TRUE(transport.Keep({2, 0, 1.0, Flat(Theta(0, 1))}).ok());
    const auto sum = transport.CloseRound(2);
    EXPECT_EQ(sum->contributors, contributors);
    EXPECT_EQ(sum->total_weight, contributors + 1.0);
  }
}

TEST(Cohort, HoldsTheAskedNumberAndChangesWithTheRound) {
  const std::vector<std::string> sites = {"a", "b", "c", "d", "e", "f", "g", "h"};
  EXPECT_EQ(CohortOf({.fraction = 1.0}, sites, 3, 0).size(), 8u);
  EXPECT_EQ(CohortOf({.fraction = 0.3}, sites, 1, 0).size(), 2u);
  EXPECT_EQ(CohortOf({.fraction = 0.001}, sites, 1, 0).size(), 1u);
  EXPECT_EQ(CohortOf({.fraction = 1.0, .count = 5}, sites, 1, 0).size(), 5u);
  EXPECT_EQ(CohortOf({.fraction = 1.0, .count = 50}, sites, 1, 0).size(), 8u);
  std::vector<int> seen(8, 0);
  bool changed = false;
  for (int64_t round = 1; round <= 40; ++round) {
    const auto cohort = CohortOf({.fraction = 1.0, .count = 3}, sites, round, 5);
    ASSERT_TRUE(std::is_sorted(cohort.begin(), cohort.end()));
    EXPECT_EQ(cohort, CohortOf({.fraction = 1.0, .count = 3}, sites, round, 5));
    changed |= cohort != CohortOf({.fraction = 1.0, .count = 3}, sites, 1, 5);
    for (int64_t k : cohort) ++seen[static_cast<size_t>(k)];
  }
  EXPECT_TRUE(changed);
  for (int count : seen) EXPECT_GT(count, 3);
}

TEST(Cohort, IsDrawnByNameHoweverTheSitesAreListed) {
  std::vector<std::string> sites = {"a", "b", "c", "d", "e", "f", "g", "h"};
  const auto names = [&](int64_t round) {
    std::set<std::string> cohort;
    for (const int64_t k : CohortOf({.fraction = 1.0, .count = 3}, sites, round, 5)) cohort.insert(sites[static_cast<size_t>(k)]);
    return cohort;
  };
  std::vector<std::set<std::string>> listed;
  for (int64_t round = 1; round <= 20; ++round) listed.push_back(names(round));
  std::reverse(sites.begin(), sites.end());
  for (int64_t round = 1; round <= 20; ++round) EXPECT_EQ(names(round), listed[static_cast<size_t>(round - 1)]) << round;
}

}  // namespace
}  // namespace fedalt
