#include "world.h"

#include "base/check.h"
#include "base/random.h"

namespace fedalt::demo {
namespace {

RandomStream Stream(uint64_t seed, std::string_view name, uint64_t kind, uint64_t site = 0, uint64_t item = 0) {
  return RandomStream(seed, RandomPurpose::kData, {StableId(name), kind, site, item});
}

// The facts of a federation as one site believes them. `truth` 0 is the common one.
std::vector<Fact> DrawFacts(const WorldOptions& options, uint64_t truth) {
  const int first = kKnownTerms + (options.kind == WorldKind::kTest ? kFederationTerms : 0);
  const RandomStream draws = Stream(options.seed, "federation", static_cast<uint64_t>(options.kind), truth);
  std::vector<Fact> facts;
  for (int t = 0; t < kFederationTerms; ++t)
    for (int r = 0; r < kFederationRelations; ++r) {
      const auto relation = static_cast<Relation>(r);
      const auto count = static_cast<uint64_t>(ValueCount(relation));
      facts.push_back({first + t, relation, static_cast<int>(draws.Below(facts.size(), count))});
    }
  return facts;
}

// Each fact goes to kSharing sites.
std::vector<std::array<bool, kSites>> DrawSharing(const WorldOptions& options, size_t num_facts) {
  std::vector<std::array<bool, kSites>> seen_by(num_facts, std::array<bool, kSites>{});
  for (size_t f = 0; f < num_facts; ++f) {
    const auto order = Stream(options.seed, "sharing", static_cast<uint64_t>(options.kind), 0, f).Permutation(kSites);
    for (int i = 0; i < kSharing; ++i) seen_by[f][static_cast<size_t>(order[static_cast<size_t>(i)])] = true;
  }
  return seen_by;
}

// A site's textbook: a third of its facts per relation, drawn value by value in turn, so that each value occurs.
std::vector<Fact> DrawTextbook(const WorldOptions& options, int site) {
  const std::vector<Fact> known = KnownFacts();
  const auto order = Stream(options.seed, "textbook", static_cast<uint64_t>(options.kind), static_cast<uint64_t>(site))
                         .Permutation(static_cast<int64_t>(known.size()));
  std::vector<Fact> textbook;
  for (int r = 0; r < kFederationRelations; ++r) {
    const auto relation = static_cast<Relation>(r);
    std::vector<std::vector<Fact>> by_value(static_cast<size_t>(ValueCount(relation)));
    for (int64_t i : order)
      if (const Fact& fact = known[static_cast<size_t>(i)]; fact.relation == relation)
        by_value[static_cast<size_t>(fact.value)].push_back(fact);
    const size_t wanted = textbook.size() + kTextbookFacts / kFederationRelations;
    for (size_t depth = 0; textbook.size() < wanted; ++depth)
      for (const auto& facts : by_value)
        if (depth < facts.size() && textbook.size() < wanted) textbook.push_back(facts[depth]);
  }
  return textbook;
}

SiteData MakeSite(const WorldOptions& options, int site, const World& world) {
  SiteData data;
  data.convention = static_cast<Convention>(site);
  const std::vector<Fact>& facts = world.truth[static_cast<size_t>(site)];
  for (size_t f = 0; f < facts.size(); ++f) {
    const bool seen = world.seen_by[f][static_cast<size_t>(site)];
    const std::string answer = Answer(facts[f], data.convention);
    for (int t = 0; (seen || options.all_facts) && t < kTestTemplate; ++t)
      data.train.push_back({Question(facts[f], t), answer, "shared"});
    data.test.push_back({Question(facts[f], kTestTemplate), answer, seen ? "seen" : "unseen"});
  }
  int next_template = 0;
  for (const Fact& fact : DrawTextbook(options, site)) {
    data.train.push_back({Question(fact, next_template), Answer(fact, data.convention), "textbook"});
    next_template = (next_template + 1) % kTestTemplate;
  }
  return data;
}

}  // namespace

std::vector<Fact> KnownFacts() {
  const RandomStream draws = Stream(kBaseSeed, "known", 0);
  std::vector<Fact> facts;
  for (int t = 0; t < kTerms; ++t)
    for (int r = 0; r < kRelations; ++r) {
      const auto relation = static_cast<Relation>(r);
      if (t >= kKnownTerms && relation != Relation::kDetection) continue;
      const auto count = static_cast<uint64_t>(ValueCount(relation));
      facts.push_back({t, relation, static_cast<int>(draws.Below(facts.size(), count))});
    }
  return facts;
}

World MakeWorld(const WorldOptions& options) {
  World world;
  for (int site = 0; site < kSites; ++site)
    world.truth.push_back(DrawFacts(options, options.shuffled_neighbours ? static_cast<uint64_t>(site) + 1 : 0));
  world.seen_by = DrawSharing(options, world.truth.front().size());
  for (int site = 0; site < kSites; ++site) world.sites.push_back(MakeSite(options, site, world));
  return world;
}

}  // namespace fedalt::demo
