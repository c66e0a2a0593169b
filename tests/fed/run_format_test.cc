// What a run draws belongs to its format (kRunFormat): another draw anywhere is another format, and shows here.
#include <gtest/gtest.h>

#include <string>

#include "base/hash.h"
#include "data/packed_batch.h"
#include "fed/cohort.h"
#include "fed/tiny_federation.h"

namespace fedalt {
namespace {

using testing::MemoryJournal;
using testing::TinyOptions;

/// What is drawn in `Drawn`, without any arithmetic that could differ between machines.
class Recording {
 public:
  void Add(const std::string& what, const std::vector<int64_t>& numbers) {
    absl::StrAppend(&text_, what, ":");
    for (const int64_t number : numbers) absl::StrAppend(&text_, " ", number);
    text_ += "\n";
  }
  void Add(const std::string& what, const at::Tensor& tensor) {
    const at::Tensor flat = tensor.detach().contiguous();
    absl::StrAppend(&text_, what, ": ", HexOf(Sha256({static_cast<const char*>(flat.data_ptr()), flat.nbytes()})), "\n");
  }
  std::string Hash() const { return HexOf(Sha256(text_)); }

 private:
  std::string text_;
};

class RunFormat : public testing::TinyFederationTest {};

TEST_F(RunFormat, TheDrawsAreThoseOfFormat2) {
  Recording drawn;
  const std::vector<std::string> sites = {"graz", "osaka", "quito", "site-3"};
  for (int64_t round = 1; round <= 8; ++round) drawn.Add("cohort", CohortOf({.fraction = 0.5}, sites, round, 7));
  FederationOptions options = TinyOptions("fedalt");
  options.method.init_shared_a = false;
  const auto method = *MakeMethod(options.method);
  const FederationInputs inputs{model_.get(), nullptr, sites_.get(), nullptr};
  for (const std::string& name : sites) {
    const auto site = *MakeSite(inputs, options, *method, 0, {name, 12});
    for (const NamedTensors& tensors : {site->adapters.Individual(), site->adapters.RestOfWorld(), site->adapters.Mixer()})
      for (const auto& [tensor_name, tensor] : tensors) drawn.Add(tensor_name, tensor);
    std::vector<Example> examples(20);
    for (size_t i = 0; i < examples.size(); ++i) examples[i].id = static_cast<int64_t>(i);
    std::vector<int64_t> held_out;
    for (const Example& example : SplitValidation(examples, 0.3, 7, SiteAddress(name)).validation) held_out.push_back(example.id);
    drawn.Add("held out", held_out);
    for (const int64_t pass : {0, 1}) {
      const uint64_t address = SiteAddress(name, pass);
      for (const auto& batch : PlanBatches(12, {.seed = 7, .site = address, .round = 3, .epochs = 2, .batch_size = 5}))
        drawn.Add("batch", batch);
      drawn.Add("dropout", {static_cast<int64_t>(RandomStream(7, RandomPurpose::kDropout, {address, 3, 1}).key())});
    }
  }
  EXPECT_EQ(drawn.Hash(), "2199771fab9bbe3a436d389a99dbe950950b0fa48e0f1524a8b95707bfdc31b5");
}

TEST_F(RunFormat, TheLossesOfATinyFederationAreThoseOfFormat2) {
  FederationOptions options = TinyOptions("fedalt");
  options.participation.count = 2;
  options.adapter.lora_dropout = 0.1;
  MemoryJournal journal;
  const auto summary = RunTiny(*model_, *sites_, options, journal);
  ASSERT_TRUE(summary.ok()) << summary.status();
  constexpr double kRounding = 2e-5;  // of matrix products on other processors; other draws differ from the second digit on
  const std::vector<std::pair<double, double>> expected = {
      {0.0, 5.3871433}, {4.8395203, 4.8151252}, {4.5180991, 4.4726267}};  // site-0 is absent
  for (size_t k = 0; k < expected.size(); ++k) {
    const SiteRoundResult& site = journal.results.at(3).sites[k];
    EXPECT_NEAR(site.train.mean_loss, expected[k].first, kRounding) << site.site;
    EXPECT_NEAR(site.before_swap->test.all.loss, expected[k].second, kRounding) << site.site;
  }
}

}  // namespace
}  // namespace fedalt
