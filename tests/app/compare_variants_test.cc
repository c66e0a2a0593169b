// The command line of a comparison: words, settings, combinations, and the spec that they make.
#include "app/compare_variants.h"

#include <gtest/gtest.h>

#include "app/cli_process.h"

namespace fedalt {
namespace {

using testing::TestFolder;

std::string Text(const std::vector<VariantPlan>& plans) {
  std::string text;
  for (const VariantPlan& plan : plans) {
    text += plan.word + (plan.added ? "+" : "");
    for (const auto& [key, value] : plan.settings) text += " " + key + "=" + value;
    text += "; ";
  }
  return text;
}

std::string Planned(const std::string& methods, const std::vector<std::string>& sets = {}) {
  const auto plans = PlanVariants(methods, sets);
  return plans.ok() ? Text(*plans) : std::string(plans.status().message());
}

TEST(PlanVariants, AddsTheControlsThatAreNotNamed) {
  EXPECT_EQ(Planned("local,fedalt"), "base+; local; fedalt; local-2r+; pooled+; ");
  EXPECT_EQ(Planned("pooled, base"), "pooled; base; local-2r+; ");
}

TEST(PlanVariants, SettingsStandBehindColonsAndKeepTheirOwnCommasAndColons) {
  EXPECT_EQ(Planned("fedalt:preset=recommended:train.lr=1e-3,base,local-2r,pooled"),
            "fedalt preset=recommended train.lr=1e-3; base; local-2r; pooled; ");
  EXPECT_EQ(Planned("fedalt:mixer=fixed:0.5:train.lr=1e-3,base,local-2r,pooled"),
            "fedalt mixer=fixed:0.5 train.lr=1e-3; base; local-2r; pooled; ");
  EXPECT_EQ(Planned("base,local-2r,pooled,local:adapter.target_modules=[q_proj, v_proj]:train.steps='38x4,8'"),
            "base; local-2r; pooled; local adapter.target_modules=[q_proj, v_proj] train.steps='38x4,8'; ");
}

TEST(PlanVariants, EveryWordIsCombinedWithEveryValue) {
  EXPECT_EQ(Planned("local,fedalt:mixer=none", {"train.lr=1,2", "train.betas=[0.9, 0.99],[0.8, 0.9]"}),
            "base+; local train.lr=1 train.betas=[0.9, 0.99]; local train.lr=1 train.betas=[0.8, 0.9]; "
            "local train.lr=2 train.betas=[0.9, 0.99]; local train.lr=2 train.betas=[0.8, 0.9]; "
            "fedalt mixer=none train.lr=1 train.betas=[0.9, 0.99]; fedalt mixer=none train.lr=1 train.betas=[0.8, 0.9]; "
            "fedalt mixer=none train.lr=2 train.betas=[0.9, 0.99]; fedalt mixer=none train.lr=2 train.betas=[0.8, 0.9]; "
            "local-2r+; pooled+; ");
  EXPECT_EQ(Planned("base,local-2r,pooled", {"train.lr=1"}), "base; local-2r train.lr=1; pooled train.lr=1; ");
}

TEST(PlanVariants, RefusesWhatItDoesNotUnderstand) {
  for (const auto& [methods, set, part] : std::vector<std::array<const char*, 3>>{
           {"local,fedal", "", "unknown method \"fedal\"; expected some of base, local, local-2r, fedit, fedit_ft, "},
           {"local,", "", "unknown method \"\""},
           {"local:train.lr", "", "\"train.lr\" is not a setting; expected key=value"},
           {"local:", "", "is not a setting"},
           {"local", "train.lr", "is not a setting"},
           {"local", "seed=1,2", "expected --seeds N"},
           {"local", "method=fedit", "a word of --methods"},
           {"local:sites=3", "", "sites has to be the same in all variants"},
           {"local", "data.test=a,b", "data.test has to be the same"},
           {"local", "eval.metrics=[loss]", "eval.metrics has to be the same"},
       }) {
    const auto plans = PlanVariants(methods, *set ? std::vector<std::string>{set} : std::vector<std::string>{});
    ASSERT_FALSE(plans.ok()) << methods;
    EXPECT_EQ(KindOf(plans.status()), ErrorKind::kUsage);
    EXPECT_NE(plans.status().message().find(part), std::string::npos) << plans.status().message();
  }
}

class MakeSpec : public ::testing::Test {
 protected:
  MakeSpec() { testing::WriteTinyRun(folder_); }
  StatusOr<ComparisonSpec> Make(const std::string& methods, const std::vector<std::string>& overrides = {},
                                const std::string& reference = "", const std::vector<std::string>& sets = {}) {
    ASSIGN_OR_RETURN(const std::vector<VariantPlan> plans, PlanVariants(methods, sets));
    return MakeComparisonSpec(folder_.path() / "config.yaml", overrides, plans, 2, reference);
  }
  TestFolder folder_;
};

TEST_F(MakeSpec, TheControlHasTwiceTheRankAtTheSameScale) {
  const auto spec = Make("local,fedalt,local-2r:preset=recommended_sum:adapter.r=16:adapter.lora_alpha=64", {"seed=7"});
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->seeds, (std::vector<uint64_t>{7, 8}));
  EXPECT_EQ(spec->reference, "local");
  EXPECT_EQ(spec->metric, "rouge1");
  const Variant& control = spec->variants[3];
  EXPECT_EQ(control.name, "local-2r preset=recommended_sum adapter.r=16 adapter.lora_alpha=64");
  EXPECT_EQ(control.method, "local");
  EXPECT_TRUE(control.freeze_a);
  EXPECT_NE(control.config.find("\n  r: 32\n  lora_alpha: 128\n"), std::string::npos) << control.config;
  EXPECT_EQ(spec->variants[0].depends_on_seed, false);
  EXPECT_EQ(RunsOf(*spec).size(), 1u + 2 * 4);
}

TEST_F(MakeSpec, NamesWhatIsWrong) {
  for (const auto& [spec, kind, part] :
       {std::tuple{Make("local", {}, "fedalt"), ErrorKind::kUsage, "expected one of \"base\", \"local\", \"local-2r\", \"pooled\""},
        std::tuple{Make("local,local"), ErrorKind::kUsage, "\"local\" would be compared twice"},
        std::tuple{Make("local", {}, "", {"train.lrr=1"}), ErrorKind::kConfig,
                   "local train.lrr=1: override train.lrr=1: unknown key"},
        std::tuple{Make("local", {"method=fedit"}), ErrorKind::kUsage, "a word of --methods"},
        std::tuple{Make("local", {"eval.generate=false"}), ErrorKind::kConfig, "expected eval.metrics=[loss]"}}) {
    ASSERT_FALSE(spec.ok()) << part;
    EXPECT_EQ(KindOf(spec.status()), kind);
    EXPECT_NE(spec.status().message().find(part), std::string::npos) << spec.status().message();
  }
}

TEST_F(MakeSpec, SurvivesItsFileAndSaysWhatDiffers) {
  const auto spec = Make("local,fedalt:mixer=none");
  ASSERT_TRUE(spec.ok()) << spec.status();
  ASSERT_TRUE(WriteComparisonSpec(folder_.path(), *spec).ok());
  const auto read = ReadComparisonSpec(folder_.path());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(DifferenceOf(*read, *spec), "");
  ASSERT_EQ(read->variants.size(), spec->variants.size());
  EXPECT_EQ(read->variants[2].overrides, spec->variants[2].overrides);
  EXPECT_EQ(read->variants[2].examples_per_step, 2);
  EXPECT_NE(DifferenceOf(*spec, *Make("local,fedalt")).find("it compares \"base\", \"local\", \"fedalt mixer=none\""),
            std::string::npos);
  EXPECT_NE(DifferenceOf(*spec, *Make("local,fedalt:mixer=none", {"train.lr=0.5"}))
                .find("its base has \"train: lr: 0.01\", given is \"train: lr: 0.5\""),
            std::string::npos);
  EXPECT_NE(DifferenceOf(*spec, *Make("local,fedalt:mixer=none", {"seed=1"})).find("its seeds are 0, 1, given are 1, 2"),
            std::string::npos);
  EXPECT_EQ(DifferenceOf(*spec, *Make("local,fedalt:mixer=none", {}, "base")), "") << "a reference changes no run";
}

TEST_F(MakeSpec, AChangedFileIsRefused) {
  const auto spec = Make("local");
  ASSERT_TRUE(spec.ok()) << spec.status();
  ASSERT_TRUE(WriteComparisonSpec(folder_.path(), *spec).ok());
  std::string text = testing::Slurp(folder_.path() / "comparison-spec.json");
  const std::string given = "lr: 0.01";
  ASSERT_NE(text.find(given), std::string::npos);
  folder_.Write("comparison-spec.json", text.replace(text.find(given), given.size(), "lr: 0.05"));
  const auto read = ReadComparisonSpec(folder_.path());
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(KindOf(read.status()), ErrorKind::kOutput);
  EXPECT_NE(read.status().message().find("was changed since the comparison began"), std::string::npos) << read.status();
}

TEST_F(MakeSpec, ADamagedFileIsRefused) {
  for (const std::string text : {"{", "[]", "{\"version\": 1}", "{\"version\": 1, \"config\": 3}", "{\"version\": 9}"}) {
    folder_.Write("comparison-spec.json", text);
    const auto spec = ReadComparisonSpec(folder_.path());
    ASSERT_FALSE(spec.ok()) << text;
    EXPECT_EQ(KindOf(spec.status()), ErrorKind::kOutput) << text;
  }
  EXPECT_EQ(KindOf(ReadComparisonSpec(folder_.path() / "model").status()), ErrorKind::kUsage);
}

}  // namespace
}  // namespace fedalt
