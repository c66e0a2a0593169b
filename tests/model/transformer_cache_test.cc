// The KV cache gives what a full forward gives, however sequences are appended, copied and dropped.
#include <gtest/gtest.h>

#include <thread>

#include "model/transformer.h"
#include "model_test_data.h"

namespace fedalt {
namespace {

class EveryModel : public testing::TestWithParam<std::string> {
 protected:
  const std::filesystem::path directory_ = ModelDirectory(GetParam());
  const Golden golden_{directory_ / "golden.safetensors"};
};
INSTANTIATE_TEST_SUITE_P(All, EveryModel, testing::ValuesIn(ModelNames()), [](const auto& i) { return i.param; });

using Sequences = std::vector<std::vector<int64_t>>;

PackedTokens Pack(const Sequences& sequences) {
  PackedTokens packed{.token_ids_t = {}, .offsets = {0}};
  std::vector<int64_t> all;
  for (const auto& s : sequences) {
    all.insert(all.end(), s.begin(), s.end());
    packed.offsets.push_back(static_cast<int64_t>(all.size()));
  }
  packed.token_ids_t = at::tensor(all, at::kLong);
  return packed;
}

Sequences Unpack(const PackedTokens& packed) {
  Sequences sequences;
  const int64_t* const id = packed.token_ids_t.data_ptr<int64_t>();
  for (size_t i = 0; i + 1 < packed.offsets.size(); ++i) sequences.emplace_back(id + packed.offsets[i], id + packed.offsets[i + 1]);
  return sequences;
}

// Hidden states of one sequence alone.
at::Tensor Alone(const Transformer& model, const std::vector<int64_t>& sequence) {
  return model.Hidden(Pack({sequence}), {});
}

TEST_P(EveryModel, TheBatchDoesNotMatter) {
  const auto model = LoadModel(directory_);
  const PackedTokens packed = golden_.Packed();
  const at::Tensor together = model->Hidden(packed, {});
  const Sequences sequences = Unpack(packed);
  for (size_t i = 0; i < sequences.size(); ++i)
    EXPECT_LE(MaxDifference(together.slice(0, packed.offsets[i], packed.offsets[i + 1]), Alone(*model, sequences[i])), 2e-5);
}

// In pieces of one, three and many tokens: the decoding kernel and the block kernel against a full forward.
TEST_P(EveryModel, CachedStatesAreTheUncachedOnes) {
  const auto model = LoadModel(directory_, at::kDouble);
  Sequences sequences = Unpack(golden_.Packed());
  // Beyond the trained length dynamic RoPE leaves cached keys as they were rotated (the golden greedy tokens cover that).
  if (model->config().rope_scaling.type == "dynamic")
    std::erase_if(sequences,
                  [&](const auto& s) { return static_cast<int64_t>(s.size()) > model->config().max_position_embeddings; });
  ASSERT_GE(sequences.size(), 2u);
  const PackedTokens packed = Pack(sequences);
  const at::Tensor full = model->Hidden(packed, {});
  KvCache cache(model->config(), static_cast<int64_t>(sequences.size()), 64, model->dtype());
  std::vector<std::vector<at::Tensor>> pieces(sequences.size());
  const size_t steps[] = {5, 1, 3, 1, 1, 12, 1, 100};
  std::vector<size_t> done(sequences.size(), 0);
  for (const size_t step : steps) {
    Sequences runs;
    for (size_t i = 0; i < sequences.size(); ++i) {
      const size_t n = std::min(step, sequences[i].size() - done[i]);  // a run may be empty
      runs.emplace_back(sequences[i].begin() + static_cast<int64_t>(done[i]),
                        sequences[i].begin() + static_cast<int64_t>(done[i] + n));
      done[i] += n;
    }
    const PackedTokens tokens = Pack(runs);
    const at::Tensor hidden = model->HiddenWithCache(tokens, cache, {});
    for (size_t i = 0; i < runs.size(); ++i) pieces[i].push_back(hidden.slice(0, tokens.offsets[i], tokens.offsets[i + 1]));
  }
  for (size_t i = 0; i < sequences.size(); ++i) {
    EXPECT_EQ(cache.lengths()[i], static_cast<int64_t>(sequences[i].size()));
    EXPECT_LE(MaxDifference(at::cat(pieces[i]), full.slice(0, packed.offsets[i], packed.offsets[i + 1])), 1e-12);
  }
}

TEST_P(EveryModel, ThreadsGetTheSameBits) {
  const auto model = LoadModel(directory_);
  const PackedTokens packed = golden_.Packed();
  const at::Tensor expected = model->Hidden(packed, {});
  std::vector<at::Tensor> results(4);
  std::vector<std::thread> threads;
  for (at::Tensor& result : results)
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) result = model->Hidden(packed, {});
    });
  for (std::thread& thread : threads) thread.join();
  for (const at::Tensor& result : results) EXPECT_TRUE(at::equal(result, expected));
}

// Random copies, drops and appends on sequences of different lengths, against a full forward of what each sequence then holds.
TEST(KvCache, ReorderKeepsEverySequencesPast) {
  const auto model = LoadModel(ModelDirectory("llama"), at::kDouble);
  uint64_t state = 12345;
  const auto random = [&state](uint64_t bound) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>((state >> 33) % bound);
  };
  for (int trial = 0; trial < 60; ++trial) {
    const size_t slots = 2 + random(3);
    KvCache cache(model->config(), static_cast<int64_t>(slots), 64, model->dtype());
    Sequences held(slots);
    for (int step = 0; step < 12; ++step) {
      Sequences runs(held.size());
      size_t longest = 0;
      for (size_t i = 0; i < held.size(); ++i) {
        for (size_t n = random(4); n > 0; --n) runs[i].push_back(static_cast<int64_t>(3 + random(90)));
        held[i].insert(held[i].end(), runs[i].begin(), runs[i].end());
        longest = std::max(longest, runs[i].size());
      }
      if (longest > 0) {
        const PackedTokens tokens = Pack(runs);
        const at::Tensor hidden = model->HiddenWithCache(tokens, cache, {});
        for (size_t i = 0; i < held.size(); ++i) {
          if (runs[i].empty()) continue;
          ASSERT_LE(MaxDifference(hidden[tokens.offsets[i + 1] - 1], Alone(*model, held[i])[-1]), 1e-12) << "trial " << trial;
        }
      }
      std::vector<int64_t> source;
      Sequences next;
      for (size_t count = 1 + random(slots); count > 0; --count) {
        source.push_back(static_cast<int64_t>(random(held.size())));
        next.push_back(held[static_cast<size_t>(source.back())]);
      }
      cache.Reorder(source);
      held = std::move(next);
      ASSERT_EQ(cache.batch(), static_cast<int64_t>(held.size()));
    }
  }
}

// A copy of the short sequence finds only a slot whose old rows the long one still reads.
TEST(KvCache, CopiesOfAShortSequenceDoNotOverwriteALongOnesPast) {
  const auto model = LoadModel(ModelDirectory("llama"), at::kDouble);
  const std::vector<int64_t> tall = {5, 6, 7, 8, 9, 10, 11, 12, 13, 14}, brief = {20, 21};
  KvCache cache(model->config(), 3, 64, model->dtype());
  model->HiddenWithCache(Pack({tall, {30}, brief}), cache, {});
  cache.Reorder({0, 0, 2});
  cache.Reorder({1, 2, 2});
  Sequences held = {tall, brief, brief};
  for (int64_t step = 0; step < 4; ++step) {
    const Sequences runs = {{40 + step}, {50 + step}, {60 + step}};
    const at::Tensor hidden = model->HiddenWithCache(Pack(runs), cache, {});
    for (size_t i = 0; i < held.size(); ++i) {
      held[i].push_back(runs[i][0]);
      EXPECT_LE(MaxDifference(hidden[static_cast<int64_t>(i)], Alone(*model, held[i])[-1]), 1e-12) << "sequence " << i;
    }
  }
}

}  // namespace
}  // namespace fedalt
