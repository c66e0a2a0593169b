// Threads that share a forward: what they exchange, and that whole models give the same bits as on one thread.
#include "model/tensor_parallel.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <set>
#include <stdexcept>

#include "base/cpu_kernels.h"
#include "model/generate.h"
#include "model/transformer.h"

namespace fedalt {
namespace {

class Threads : public testing::Test {
 protected:
  void TearDown() override { at::set_num_threads(before_); }
  const int before_ = at::get_num_threads();
};
using TensorParallel = Threads;

TEST_F(TensorParallel, EveryMemberGathersTheColumnsOfAll) {
  constexpr int64_t kRounds = 200;
  for (const int64_t size : {1, 2, 3}) {
    std::vector<std::vector<at::Tensor>> gathered(static_cast<size_t>(size));
    const at::Tensor result = ByTeam(size, [&](TeamMember& member) {
      EXPECT_EQ(member.size(), size);
      EXPECT_FALSE(at::GradMode::is_enabled());
      const int64_t rank = member.First(size);
      for (int64_t round = 0; round < kRounds; ++round)
        gathered[static_cast<size_t>(rank)].push_back(
            member.AllGather(at::arange(6, at::kInt).view({2, 3}) + static_cast<int>(100 * rank + 1000 * round)));
      return gathered[static_cast<size_t>(rank)].back();
    });
    ASSERT_TRUE(result.defined()) << "OpenMP gives fewer threads";
    for (int64_t round = 0; round < kRounds; ++round) {
      std::vector<at::Tensor> parts;
      for (int64_t rank = 0; rank < size; ++rank)
        parts.push_back(at::arange(6, at::kInt).view({2, 3}) + static_cast<int>(100 * rank + 1000 * round));
      for (const auto& of_member : gathered)
        ASSERT_TRUE(at::equal(of_member[static_cast<size_t>(round)], at::cat(parts, 1))) << size << " members, round " << round;
    }
    EXPECT_TRUE(at::equal(result, gathered[0].back()));
  }
}

TEST_F(TensorParallel, SharesCoverAllOnce) {
  std::vector<int64_t> first(3), count(3);
  ByTeam(3, [&](TeamMember& member) {
    const auto rank = static_cast<size_t>(member.First(3));
    first[rank] = member.First(12);
    count[rank] = member.Count(12);
    return at::Tensor();
  });
  EXPECT_EQ(first, (std::vector<int64_t>{0, 4, 8}));
  EXPECT_EQ(count, (std::vector<int64_t>{4, 4, 4}));
}

TEST_F(TensorParallel, AMemberThatFailsEndsTheCallForAll) {
  for (const int64_t failing : {0, 1, 2}) {
    const auto call = [&] {
      ByTeam(3, [&](TeamMember& member) {
        const at::Tensor own = at::zeros({1, 1});
        member.AllGather(own);
        if (member.First(3) == failing) throw std::runtime_error("no memory");
        return member.AllGather(own);
      });
    };
    EXPECT_THROW(
        {
          try {
            call();
          } catch (const std::runtime_error& error) {
            EXPECT_STREQ(error.what(), "no memory");
            throw;
          }
        },
        std::runtime_error);
  }
}

/// Tells whether a team came by, and adds a term that differs by output.
class Witness final : public LinearExtension {
 public:
  std::vector<at::Tensor> Parameters() const override { return {}; }
  std::unique_ptr<Saved> Add(const at::Tensor& x_ti, at::Tensor& y_to, const ForwardContext& context, bool) const override {
    const int64_t first = context.member == nullptr ? 0 : context.member->First(y_to.size(1) * context.member->size());
    if (context.member != nullptr && first == 0) team_size = context.member->size();
    const at::Tensor outputs = at::arange(first, first + y_to.size(1), at::kFloat) * 0.001;
    y_to.add_((x_ti.select(1, 0).to(at::kFloat).unsqueeze(1) * outputs).to(y_to.scalar_type()));
    return nullptr;
  }
  mutable int64_t team_size = 0;
};

struct Family {
  const char* name;
  ModelFamily family;
  int64_t kv_heads;
};

class WholeModels : public Threads, public testing::WithParamInterface<std::tuple<Family, at::ScalarType>> {
 protected:
  static constexpr int64_t kHidden = 512, kHeads = 4, kVocabulary = 320, kLayers = 2;

  static ModelConfig Config(const Family& family) {
    ModelConfig config;
    config.family = family.family;
    config.vocab_size = kVocabulary;
    config.hidden_size = kHidden;
    config.num_layers = kLayers;
    config.num_heads = kHeads;
    config.num_kv_heads = family.kv_heads;
    config.head_dim = kHidden / kHeads;
    config.intermediate_size = family.family == ModelFamily::kBloom ? 4 * kHidden : 768;
    config.max_position_embeddings = 64;
    config.attention_bias = family.family == ModelFamily::kQwen2;
    config.tie_word_embeddings = true;
    return config;
  }

  static std::shared_ptr<const Transformer> Model(const ModelConfig& c, at::ScalarType dtype) {
    at::manual_seed(7);
    NamedTensors tensors;
    const auto matrix = [&](const std::string& name, int64_t out, int64_t in) {
      tensors.emplace_back(name + ".weight", (at::randn({out, in}) / 16).to(dtype));
    };
    const auto vector = [&](const std::string& name, int64_t n) { tensors.emplace_back(name, (at::randn({n}) / 8 + 1).to(dtype)); };
    if (c.family == ModelFamily::kBloom) {
      matrix("transformer.word_embeddings", c.vocab_size, kHidden);
      for (const char* norm : {"word_embeddings_layernorm", "ln_f"})
        for (const char* part : {".weight", ".bias"}) vector(absl::StrCat("transformer.", norm, part), kHidden);
      for (int64_t i = 0; i < kLayers; ++i) {
        const std::string layer = absl::StrCat("transformer.h.", i, ".");
        for (const char* norm : {"input_layernorm", "post_attention_layernorm"})
          for (const char* part : {".weight", ".bias"}) vector(absl::StrCat(layer, norm, part), kHidden);
        const auto linear = [&](const std::string& name, int64_t out, int64_t in) {
          matrix(layer + name, out, in);
          vector(layer + name + ".bias", out);
        };
        linear("self_attention.query_key_value", 3 * kHidden, kHidden);
        linear("self_attention.dense", kHidden, kHidden);
        linear("mlp.dense_h_to_4h", 4 * kHidden, kHidden);
        linear("mlp.dense_4h_to_h", kHidden, 4 * kHidden);
      }
    } else {
      matrix("model.embed_tokens", c.vocab_size, kHidden);
      vector("model.norm.weight", kHidden);
      for (int64_t i = 0; i < kLayers; ++i) {
        const std::string layer = absl::StrCat("model.layers.", i, "."), attention = layer + "self_attn.";
        for (const char* norm : {"input_layernorm.weight", "post_attention_layernorm.weight"}) vector(layer + norm, kHidden);
        const int64_t kv = c.num_kv_heads * c.head_dim;
        for (const auto& [name, out] :
             std::vector<std::pair<std::string, int64_t>>{{"q_proj", kHidden}, {"k_proj", kv}, {"v_proj", kv}}) {
          matrix(attention + name, out, kHidden);
          if (c.attention_bias) vector(attention + name + ".bias", out);
        }
        matrix(attention + "o_proj", kHidden, kHidden);
        for (const char* name : {"gate_proj", "up_proj"}) matrix(absl::StrCat(layer, "mlp.", name), c.intermediate_size, kHidden);
        matrix(layer + "mlp.down_proj", kHidden, c.intermediate_size);
      }
    }
    auto model = Transformer::FromTensors(c, tensors, {.dtype = dtype});
    EXPECT_TRUE(model.ok()) << model.status();
    return model.ok() ? *model : nullptr;
  }
};

std::string CaseName(const testing::TestParamInfo<std::tuple<Family, at::ScalarType>>& info) {
  return absl::StrCat(std::get<0>(info.param).name, std::get<1>(info.param) == at::kFloat ? "_float32" : "_bfloat16");
}
INSTANTIATE_TEST_SUITE_P(All, WholeModels,
                         testing::Combine(testing::Values(Family{"llama", ModelFamily::kLlama, 4},
                                                          Family{"grouped_with_biases", ModelFamily::kQwen2, 2},
                                                          Family{"bloom", ModelFamily::kBloom, 4}),
                                          testing::Values(at::kFloat, at::kBFloat16)),
                         CaseName);

// Prompts of different lengths in pieces, then one token at a time: at every step the same hidden states and logits.
TEST_P(WholeModels, GiveTheSameBitsAsOneThread) {
  const at::ScalarType dtype = std::get<1>(GetParam());
  const ModelConfig config = Config(std::get<0>(GetParam()));
  const auto model = Model(config, dtype);
  ASSERT_NE(model, nullptr);
  std::vector<Witness> witnesses(model->linears().size());
  std::vector<const LinearExtension*> extensions(witnesses.size(), nullptr);
  for (size_t i = 0; i < witnesses.size(); i += 3) extensions[i] = &witnesses[i];
  const ForwardContext context{.extensions = &extensions};
  const auto run = [&](int threads) {
    at::set_num_threads(threads);
    KvCache cache(config, 3, 32, dtype);
    std::vector<at::Tensor> states;
    const std::vector<std::vector<int64_t>> pieces = {{4, 1, 5}, {1, 1, 1}, {0, 2, 1}, {1, 1, 1}};
    int64_t id = 1;
    for (const auto& piece : pieces) {
      PackedTokens tokens{.token_ids_t = {}, .offsets = {0}};
      for (const int64_t n : piece) tokens.offsets.push_back(tokens.offsets.back() + n);
      tokens.token_ids_t = (at::arange(id, id + tokens.offsets.back(), at::kLong) * 37) % kVocabulary;
      id += tokens.offsets.back();
      const std::vector<int64_t> wanted = {tokens.offsets.back() - 1};
      if (states.size() == 2) tokens.wanted_rows = &wanted;
      states.push_back(model->HiddenWithCache(tokens, cache, context));
      cache.Reorder({2, 0, 1});
    }
    return states;
  };
  const std::vector<at::Tensor> one = run(1);
  ASSERT_EQ(witnesses[0].team_size, 0);
  const std::vector<at::Tensor> two = run(2);
  EXPECT_EQ(witnesses[0].team_size, ActiveCpuKernels() == CpuKernels::kTensor ? 0 : 2);
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_GT(one[i].abs().max().item<float>(), 0.1f);
    EXPECT_TRUE(at::equal(one[i], two[i])) << "call " << i;
  }
}

TEST_P(WholeModels, GenerateTheSameTexts) {
  const auto& [family, dtype] = GetParam();
  const auto model = Model(Config(family), dtype);
  ASSERT_NE(model, nullptr);
  const std::vector<std::vector<int32_t>> prompts = {{1, 2, 3}, {200, 7}, {9, 9, 9, 9, 300}};
  for (const int64_t beams : {1, 3}) {
    std::set<std::vector<std::vector<int32_t>>> texts;
    for (const int threads : {1, 2, 4}) {
      at::set_num_threads(threads);
      const auto text = Generate(*model, prompts, {.max_new_tokens = 8, .beams = beams, .batch_size = 3}, {});
      ASSERT_TRUE(text.ok()) << text.status();
      texts.insert(*text);
    }
    EXPECT_EQ(texts.size(), 1u) << beams << " beams";
  }
}

}  // namespace
}  // namespace fedalt
