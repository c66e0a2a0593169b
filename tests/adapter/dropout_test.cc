// Dropout draws: the addressing against a Python twin, all kernels against each other, and independence of packing and threads.
#include "adapter/dropout.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "adapter/philox_words.h"
#include "base/random.h"

namespace fedalt {
namespace {

nlohmann::json Golden() {
  return nlohmann::json::parse(std::ifstream(FEDALT_TEST_DATA "/adapter/dropout.json"));
}

TEST(DropoutMask, EqualsThePythonTwin) {
  const nlohmann::json golden = Golden();
  const TokenRows rows{golden["rows"]["example_ids"], golden["rows"]["positions"]};
  for (const auto& entry : golden["masks"]) {
    const int64_t features = entry["features"];
    const double p = entry["p"];
    const at::Tensor mask = DropoutMask(rows, features, p, entry["dropout_key"], entry["module_id"]);
    ASSERT_EQ(mask.size(1), features);
    for (int64_t t = 0; t < mask.size(0); ++t) {
      const std::string dropped = entry["dropped"][static_cast<size_t>(t)];
      for (int64_t f = 0; f < features; ++f) {
        const float want = dropped[static_cast<size_t>(f)] == '1' ? 0.0f : static_cast<float>(1.0 / (1.0 - p));
        ASSERT_EQ(mask[t][f].item<float>(), want) << "row " << t << " feature " << f;
      }
    }
  }
}

TEST(PhiloxWords, EveryKernelIsPhilox) {
  const PhiloxRow row{0x0123456789ABCDEF, 4000000000u, 0x89ABCDEF, 77};
  const auto kernels = PhiloxKernels();
  EXPECT_STREQ(kernels.back().name, "portable");
  for (const PhiloxKernel& kernel : kernels) {
    std::vector<uint32_t> words(3 * kPhiloxGroup + 1, 42);
    kernel.fill(row, 5, 3, words.data());
    for (uint32_t g = 0; g < 3; ++g)
      for (uint32_t l = 0; l < 16; ++l) {
        const auto block = Philox4x32(row.key, {16 * (5 + g) + l, row.position, row.example_lo, row.example_hi});
        for (uint32_t w = 0; w < 4; ++w) ASSERT_EQ(words[64 * g + 16 * w + l], block[w]) << kernel.name;
      }
    EXPECT_EQ(words.back(), 42u) << kernel.name << " wrote past its end";
  }
}

TEST(DropoutMask, PackingDoesNotMoveIt) {
  const TokenRows packed{{4, 4, 4, 9, 9}, {0, 1, 2, 0, 1}}, reversed{{9, 9, 4, 4, 4}, {0, 1, 0, 1, 2}}, alone{{4, 4, 4}, {0, 1, 2}};
  const at::Tensor a = DropoutMask(packed, 100, 0.5, 3, 4), b = DropoutMask(reversed, 100, 0.5, 3, 4),
                   c = DropoutMask(alone, 100, 0.5, 3, 4);
  EXPECT_TRUE(at::equal(a.narrow(0, 0, 3), b.narrow(0, 2, 3)));
  EXPECT_TRUE(at::equal(a.narrow(0, 3, 2), b.narrow(0, 0, 2)));
  EXPECT_TRUE(at::equal(a.narrow(0, 0, 3), c));
  EXPECT_FALSE(at::equal(a, DropoutMask(packed, 100, 0.5, 3, 5))) << "another module, another mask";
  EXPECT_FALSE(at::equal(a, DropoutMask(packed, 100, 0.5, 2, 4))) << "another step, another mask";
}

TEST(DropoutMask, ThreadsDoNotMoveIt) {
  TokenRows rows;
  for (int64_t t = 0; t < 300; ++t) {
    rows.example_ids.push_back(t / 50);
    rows.positions.push_back(t % 50);
  }
  at::set_num_threads(1);
  const at::Tensor one = DropoutMask(rows, 700, 0.3, 1, 2);
  at::set_num_threads(2);
  EXPECT_TRUE(at::equal(one, DropoutMask(rows, 700, 0.3, 1, 2)));
}

TEST(DropoutMask, DropsTheShareItIsTold) {
  TokenRows rows;
  for (int64_t t = 0; t < 1000; ++t) {
    rows.example_ids.push_back(1);
    rows.positions.push_back(t);
  }
  const at::Tensor mask = DropoutMask(rows, 512, 0.05, 1, 2);
  const double share = (mask == 0).to(at::kDouble).mean().item<double>();
  EXPECT_NEAR(share, 0.05, 6 * std::sqrt(0.05 * 0.95 / 512000));
  EXPECT_TRUE(at::equal(DropoutMask(rows, 8, 0.0, 1, 2), at::ones({1000, 8})));
}

}  // namespace
}  // namespace fedalt
