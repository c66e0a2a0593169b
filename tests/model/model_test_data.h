// What the tests of the transformer share: the golden files that tests/golden/models.py and generate.py wrote.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "model/safetensors.h"
#include "model/transformer.h"

namespace fedalt {

inline std::filesystem::path ModelDirectory(const std::string& name) {
  return std::filesystem::path(FEDALT_TEST_DATA) / "model" / name;
}

/// Every model directory that models.py wrote.
inline std::vector<std::string> ModelNames() {
  return {"llama",
          "llama_tied_biases",
          "llama_head_dim",
          "llama_rope_linear",
          "llama_rope_dynamic",
          "llama_rope_llama3",
          "llama_rope_yarn",
          "mistral",
          "qwen2",
          "qwen2_sliding",
          "smollm",
          "tinyllama",
          "llama_sharded",
          "llama_float16",
          "llama_bfloat16",
          "bloom",
          "bloom_post_layernorm"};
}

inline std::shared_ptr<const Transformer> LoadModel(const std::filesystem::path& directory, at::ScalarType dtype = at::kFloat) {
  auto model = Transformer::Load(directory, {.dtype = dtype});
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *model : nullptr;
}

/// The tensors of one golden file.
class Golden {
 public:
  explicit Golden(const std::filesystem::path& path) {
    auto files = TensorFiles::OpenFile(path);
    EXPECT_TRUE(files.ok()) << files.status();
    if (files.ok()) files_ = *files;
  }
  at::Tensor Get(const std::string& name) const {
    auto tensor = files_->Get(name);
    EXPECT_TRUE(tensor.ok()) << tensor.status();
    return tensor.ok() ? *tensor : at::Tensor();
  }
  bool Has(const std::string& name) const { return files_->Contains(name); }
  std::vector<int64_t> Ints(const std::string& name) const {
    const at::Tensor t = Get(name).contiguous();
    return {t.data_ptr<int64_t>(), t.data_ptr<int64_t>() + t.numel()};
  }
  /// Sequences laid end to end under `name`, cut at <offsets>.
  std::vector<std::vector<int32_t>> Sequences(const std::string& name, const std::string& offsets) const {
    const std::vector<int64_t> ids = Ints(name), cuts = Ints(offsets);
    std::vector<std::vector<int32_t>> sequences;
    for (size_t i = 0; i + 1 < cuts.size(); ++i) sequences.emplace_back(ids.begin() + cuts[i], ids.begin() + cuts[i + 1]);
    return sequences;
  }
  PackedTokens Packed() const { return {Get("ids"), Ints("offsets")}; }

 private:
  std::shared_ptr<TensorFiles> files_;
};

inline double MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return a.numel() == 0 ? 0.0 : (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

}  // namespace fedalt
