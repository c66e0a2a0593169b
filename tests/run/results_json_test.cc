// Which site is the worst, where answers were generated and where there are only losses.
#include "run/results_json.h"

#include <gtest/gtest.h>

namespace fedalt {
namespace {

OrderedJson Site(const char* name, OrderedJson exact_match, OrderedJson rouge1, double loss) {
  return {{"site", name}, {"exact_match", std::move(exact_match)}, {"rouge1", std::move(rouge1)}, {"loss", loss}};
}

TEST(WorstOf, GoesByTheAnswersWhereThereAreAny) {
  EXPECT_EQ(WorstOf({Site("a", 0.5, 0.5, 1.0), Site("b", 0.2, 0.9, 0.1), Site("c", 0.2, 0.3, 0.1)})["site"], "c");
  EXPECT_EQ(WorstOf({Site("a", 0.0, 0.1, 3.0), Site("b", 0.0, 0.0, 1.0)})["site"], "b");
}

TEST(WorstOf, GoesByTheLossWhereThereAreNone) {
  const OrderedJson worst = WorstOf({Site("a", nullptr, nullptr, 1.0), Site("b", nullptr, nullptr, 2.5)});
  EXPECT_EQ(worst["site"], "b");
  EXPECT_EQ(worst["loss"], 2.5);
  EXPECT_TRUE(worst["rouge1"].is_null());
}

TEST(WorstOf, IsASiteWhoseLossIsNotFinite) {
  EXPECT_EQ(WorstOf({Site("a", nullptr, nullptr, 9.0),
                     {{"site", "b"}, {"exact_match", nullptr}, {"rouge1", nullptr}, {"loss", nullptr}}})["site"],
            "b");
}

TEST(WorstOf, OfEqualSitesIsTheFirstByName) {
  EXPECT_EQ(WorstOf({Site("b", 0.5, 0.5, 1.0), Site("a", 0.5, 0.5, 1.0)})["site"], "a");
}

OrderedJson Line(const char* name, OrderedJson train_loss, OrderedJson loss) {
  return {{"round", 3},
          {"site", name},
          {"participated", !train_loss.is_null()},
          {"train_loss", std::move(train_loss)},
          {"tokens_per_s", nullptr},
          {"loss", std::move(loss)}};
}

TEST(MeanOf, OfTheTrainingLossIsOverThoseThatTrained) {
  const OrderedJson mean = MeanOf({Line("a", nullptr, 1.0), Line("b", 0.5, 2.0), Line("c", 1.5, 6.0)});
  EXPECT_EQ(mean["train_loss"], 1.0);
  EXPECT_EQ(mean["loss"], 3.0);
  EXPECT_TRUE(MeanOf({Line("a", nullptr, 1.0)})["train_loss"].is_null());
}

TEST(MeanOf, IsNullWhereASitesLossIsNotFinite) {
  EXPECT_TRUE(MeanOf({Line("a", 1.0, 1.0), Line("b", 1.0, nullptr)})["loss"].is_null());
}

TEST(MeanOf, DoesNotDependOnHowTheSitesAreListed) {
  const std::vector<OrderedJson> sites = {Line("a", 0.1, 1e16), Line("b", 0.2, 1.0), Line("c", 0.3, -1e16), Line("d", 0.7, 0.1)};
  const OrderedJson mean = MeanOf(sites);
  EXPECT_EQ(MeanOf({sites[2], sites[3], sites[1], sites[0]}), mean);
  EXPECT_EQ(mean["site"], "mean");
}

TEST(SiteToJson, NamesTheExamplesWithOtherScripts) {
  SiteRoundResult result;
  result.deployed = "before_swap";
  result.before_swap.emplace();
  result.before_swap->test.predictions = {"x"};
  EXPECT_FALSE(SiteToJson(result).contains("rouge_beyond_latin"));
  result.before_swap->test.all.beyond_latin = 3;
  EXPECT_EQ(SiteToJson(result)["rouge_beyond_latin"], 3);
}

TEST(WorstOf, OfNoSitesIsNothing) {
  EXPECT_TRUE(WorstOf({}).is_null());
}

}  // namespace
}  // namespace fedalt
