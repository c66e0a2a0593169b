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

TEST(WorstOf, OfNoSitesIsNothing) {
  EXPECT_TRUE(WorstOf({}).is_null());
}

}  // namespace
}  // namespace fedalt
