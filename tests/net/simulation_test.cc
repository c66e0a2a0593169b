// The federation with faults: FEDALT_SIMULATION_SEEDS=10000 for more seeds, FEDALT_SIMULATION_SEED=17 to see one again.
#include "net/simulation.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace fedalt::testing {
namespace {

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoll(text);
}

SimulationOptions OptionsOf(uint64_t seed) {
  SimulationOptions options;
  options.seed = seed;
  const RandomStream draws(seed, RandomPurpose::kData, {seed});
  options.sites = 1 + static_cast<int64_t>(draws.Below(0, 5));
  options.rounds = 1 + static_cast<int64_t>(draws.Below(1, 4));
  options.minimum_cohort = 1 + static_cast<int64_t>(draws.Below(2, static_cast<uint64_t>(options.sites)));
  options.lost = 0.3 * draws.Uniform(3);
  options.doubled = 0.3 * draws.Uniform(4);
  options.server_dies = 0.1 * draws.Uniform(5);
  options.site_dies = 0.05 * draws.Uniform(6);
  options.disk_full = 0.01 * draws.Uniform(7);
  options.aggregation = 2.0 * draws.Uniform(8);
  options.attempts = draws.Uniform(9) < 0.1 ? 2 : 50;
  options.attacker = draws.Uniform(10) < 0.5;
  return options;
}

TEST(Simulation, NoSeedBreaksAnInvariant) {
  SimulationResult all;
  const int64_t one = FromEnvironment("FEDALT_SIMULATION_SEED", -1);
  const int64_t first = one >= 0 ? one : 0, count = one >= 0 ? 1 : FromEnvironment("FEDALT_SIMULATION_SEEDS", 100);
  for (int64_t seed = first; seed < first + count; ++seed) {
    const SimulationResult result = Simulation(OptionsOf(static_cast<uint64_t>(seed))).Run();
    ASSERT_EQ(result.violation, "") << "FEDALT_SIMULATION_SEED=" << seed;
    all.closed_rounds += result.closed_rounds;
    all.server_deaths += result.server_deaths;
    all.site_deaths += result.site_deaths;
    all.lost += result.lost;
    all.doubled += result.doubled;
    all.abandoned += result.abandoned;
    all.late += result.late;
    all.disk_full += result.disk_full;
    all.anew += result.anew;
    all.pauses += result.pauses;
    all.clock_sets += result.clock_sets;
    all.damaged += result.damaged;
    all.thieves += result.thieves;
    all.attacks += result.attacks;
    all.left_out += result.left_out;
  }
  std::cout << count << " seeds: " << all.closed_rounds << " rounds, " << all.server_deaths << " deaths of servers, "
            << all.site_deaths << " of sites, " << all.lost << " lost and " << all.doubled << " doubled messages, " << all.abandoned
            << " abandoned attempts, " << all.late << " rounds closed without a site, " << all.anew << " sites that rejoined, "
            << all.pauses << " pauses and their ends, " << all.disk_full << " full disks, " << all.clock_sets
            << " wall clocks set, " << all.damaged << " chunks damaged, " << all.thieves << " thieves of keys, " << all.attacks
            << " attacks, " << all.left_out << " contributions left out\n";
  if (one >= 0) return;
  // The faults do happen.
  EXPECT_GT(all.server_deaths, count / 2);
  EXPECT_GT(all.site_deaths, count / 2);
  EXPECT_GT(all.lost, count);
  EXPECT_GT(all.doubled, count);
  EXPECT_GT(all.disk_full, count / 10);
  EXPECT_GT(all.abandoned, 0);
  EXPECT_GT(all.late, 0);
  EXPECT_GT(all.anew, 0);
  EXPECT_GT(all.pauses, 0);
  EXPECT_GT(all.clock_sets, 0);
  EXPECT_GT(all.damaged, 0);
  EXPECT_GT(all.thieves, 0);
  EXPECT_GT(all.attacks, 0);
  EXPECT_GT(all.left_out, 0);
}

TEST(Simulation, TheSameSeedIsTheSameRun) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const SimulationResult a = Simulation(OptionsOf(seed)).Run(), b = Simulation(OptionsOf(seed)).Run();
    EXPECT_FALSE(a.trace.empty());
    EXPECT_EQ(a.trace, b.trace) << seed;
  }
}

/// A mistake that is put in is found within so many seeds.
TEST(Simulation, FindsPlantedMistakes) {
  constexpr uint64_t kSeeds = 200;
  for (int number = 1; number <= static_cast<int>(Planted::kForgetsRoundAfterRestart); ++number) {
    const Planted planted = static_cast<Planted>(number);
    std::string found;
    uint64_t seed = 0;
    for (; seed < kSeeds && found.empty(); ++seed) {
      SimulationOptions options = OptionsOf(seed);
      options.planted = planted;
      found = Simulation(options).Run().violation;
    }
    EXPECT_NE(found, "") << "planted mistake " << number;
    std::cout << "planted mistake " << number << " after " << seed << " seeds: " << found << "\n";
  }
}

}  // namespace
}  // namespace fedalt::testing
