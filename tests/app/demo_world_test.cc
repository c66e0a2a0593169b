// The demo's world keeps the promises that its table rests on: what the base knows, who is given what, and what a control may know.
#include "world.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

namespace fedalt::demo {
namespace {

World WorldOf(WorldKind kind, uint64_t seed) {
  WorldOptions options;
  options.kind = kind;
  options.seed = seed;
  return MakeWorld(options);
}

World TestWorld(uint64_t seed) {
  return WorldOf(WorldKind::kTest, seed);
}

TEST(DemoWorld, TermsAreDistinctWordsAndEveryTextIsInTheVocabulary) {
  const std::vector<std::string>& terms = TermNames();
  EXPECT_EQ(std::set<std::string>(terms.begin(), terms.end()).size(), static_cast<size_t>(kTerms));
  const std::vector<std::string> list = Vocabulary();
  const std::set<std::string> words(list.begin(), list.end());
  EXPECT_EQ(words.size(), list.size());
  const World world = TestWorld(0);
  for (const SiteData& site : world.sites)
    for (const Sample& sample : site.test) {
      std::string text = sample.instruction + " " + sample.output + " ";
      for (size_t begin = 0, end; (end = text.find(' ', begin)) != std::string::npos; begin = end + 1)
        EXPECT_EQ(words.count(text.substr(begin, end - begin)), 1u) << text;
    }
}

TEST(DemoWorld, BaseIsNeverTaughtAFactOfAnyFederation) {
  std::set<std::pair<int, Relation>> known;
  for (const Fact& fact : KnownFacts()) known.insert({fact.term, fact.relation});
  EXPECT_EQ(known.size(), 150u * 4 + 48);
  for (WorldKind kind : {WorldKind::kValidation, WorldKind::kTest}) {
    const World world = WorldOf(kind, 3);
    for (const Fact& fact : world.truth[0]) EXPECT_EQ(known.count({fact.term, fact.relation}), 0u);
  }
}

TEST(DemoWorld, ValidationAndTestWorldsShareNoTerm) {
  std::set<int> validation;
  const World chosen_on = WorldOf(WorldKind::kValidation, 0), reported = TestWorld(1);
  for (const Fact& fact : chosen_on.truth[0]) validation.insert(fact.term);
  EXPECT_EQ(validation.size(), static_cast<size_t>(kFederationTerms));
  for (const Fact& fact : reported.truth[0]) EXPECT_EQ(validation.count(fact.term), 0u);
}

TEST(DemoWorld, EachFactIsGivenToFourSitesWhichTrainOnItInTwoTemplates) {
  const World world = TestWorld(7);
  ASSERT_EQ(world.truth[0].size(), 72u);
  std::map<std::string, int> trained;
  for (size_t f = 0; f < 72; ++f) {
    int sites = 0;
    for (size_t k = 0; k < kSites; ++k) {
      const SiteData& site = world.sites[k];
      sites += world.seen_by[f][k];
      EXPECT_EQ(site.test[f].tag, world.seen_by[f][k] ? "seen" : "unseen");
      EXPECT_EQ(site.test[f].output, Answer(world.truth[0][f], site.convention));
      std::set<std::string> questions;
      for (const Sample& sample : site.train) questions.insert(sample.instruction);
      for (int t = 0; t < kTestTemplate; ++t) EXPECT_EQ(questions.count(Question(world.truth[0][f], t)) == 1, world.seen_by[f][k]);
      EXPECT_EQ(questions.count(site.test[f].instruction), 0u);
    }
    EXPECT_EQ(sites, kSharing);
  }
}

TEST(DemoWorld, TextbookCoversEveryValueInTheSitesConvention) {
  const World world = TestWorld(0);
  for (const SiteData& site : world.sites) {
    std::set<std::string> answers, textbook_answers;
    for (int r = 0; r < kFederationRelations; ++r)
      for (int v = 0; v < ValueCount(static_cast<Relation>(r)); ++v)
        answers.insert(Answer({0, static_cast<Relation>(r), v}, site.convention));
    int textbook = 0;
    for (const Sample& sample : site.train)
      if (sample.tag == "textbook") textbook_answers.insert(sample.output), ++textbook;
    EXPECT_EQ(textbook, kTextbookFacts);
    EXPECT_EQ(textbook_answers, answers);
  }
}

TEST(DemoWorld, ConventionsNeverAgreeOnAnAnswer) {
  for (int r = 0; r < kRelations; ++r)
    for (int v = 0; v < ValueCount(static_cast<Relation>(r)); ++v) {
      std::set<std::string> answers;
      for (int c = 0; c < kConventions; ++c) answers.insert(Answer({0, static_cast<Relation>(r), v}, static_cast<Convention>(c)));
      EXPECT_EQ(answers.size(), static_cast<size_t>(kConventions));
    }
}

TEST(DemoWorld, SeedDecidesTheWorldAndNothingElseDoes) {
  const World a = TestWorld(1), b = TestWorld(1), c = TestWorld(2);
  size_t different = 0;
  for (size_t f = 0; f < 72; ++f) {
    EXPECT_EQ(a.truth[0][f].value, b.truth[0][f].value);
    EXPECT_EQ(a.seen_by[f], b.seen_by[f]);
    different += a.truth[0][f].value != c.truth[0][f].value;
  }
  EXPECT_GT(different, 36u);
}

TEST(DemoWorld, ShuffledNeighboursAgreeNoMoreOftenThanChance) {
  WorldOptions options;
  options.shuffled_neighbours = true;
  const World world = MakeWorld(options);
  const World plain = TestWorld(0);
  EXPECT_EQ(world.seen_by, plain.seen_by);
  double agreements = 0;
  for (size_t k = 1; k < kSites; ++k)
    for (size_t f = 0; f < 72; ++f) {
      agreements += world.truth[k][f].value == world.truth[0][f].value;
      EXPECT_EQ(plain.truth[k][f].value, plain.truth[0][f].value);
    }
  // Chance is (1/12 + 1/4 + 1/8) / 3 = 15.3 %; four standard deviations of 504 draws are 6.4 points.
  EXPECT_NEAR(agreements / (7 * 72), 0.153, 0.064);
}

TEST(DemoWorld, AllFactsGivesEverySiteEverythingAndKeepsTheTests) {
  WorldOptions options;
  options.all_facts = true;
  const World world = MakeWorld(options), plain = TestWorld(0);
  for (size_t k = 0; k < kSites; ++k) {
    EXPECT_EQ(world.sites[k].train.size(), 72u * 2 + kTextbookFacts);
    for (size_t f = 0; f < 72; ++f) EXPECT_EQ(world.sites[k].test[f].tag, plain.sites[k].test[f].tag);
  }
}

}  // namespace
}  // namespace fedalt::demo
