// What lies in files of models and adapters reaches a run as it means it, or is refused or told: numbers that are not finite,
// adapters of another scale, tensors that nothing uses.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "app/cli_process.h"
#include "model/safetensors.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ProcessResult;
using testing::RunFedalt;
using testing::TestFolder;

class ModelFiles : public ::testing::Test {
 protected:
  void SetUp() override { testing::WriteTinyRun(folder_); }

  ProcessResult Run(const std::vector<std::string>& arguments) const { return RunFedalt(folder_, arguments); }
  ProcessResult Train(const std::string& out, std::vector<std::string> keys) const {
    keys.insert(keys.begin(), {"run", "config.yaml", "train.rounds=1", "--out", out, "--format", "json"});
    return Run(keys);
  }

  /// The tensors of a file, owned, for a change.
  NamedTensors Read(const std::string& file) const {
    NamedTensors tensors;
    const auto files = TensorFiles::OpenFile(folder_.path() / file);
    EXPECT_TRUE(files.ok()) << files.status();
    for (const std::string& name : (*files)->Names()) tensors.emplace_back(name, (*files)->Get(name)->clone());
    return tensors;
  }
  void Write(const std::string& file, const NamedTensors& tensors) const {
    EXPECT_TRUE(WriteSafetensors(folder_.path() / file, tensors).ok());
  }

  TestFolder folder_;
};

constexpr char kWeights[] = "model/model.safetensors", kNan[] = "nan at [1, 2]";

TEST_F(ModelFiles, NanInTheWeightsIsNamedByEveryCommand) {
  NamedTensors weights = Read(kWeights);
  const std::string name = "model.layers.0.self_attn.q_proj.weight";
  for (auto& [key, tensor] : weights)
    if (key == name) tensor[1][2] = std::numeric_limits<double>::quiet_NaN();
  Write(kWeights, weights);
  for (const ProcessResult& result : {Train("out", {}), Run({"generate", "--model", "model", "--prompt", "what"})}) {
    EXPECT_EQ(result.code, 4) << result.err;
    EXPECT_NE(result.err.find(name), std::string::npos) << result.err;
    EXPECT_NE(result.err.find(kNan), std::string::npos) << result.err;
    EXPECT_EQ(result.err.find(": : "), std::string::npos) << result.err;
  }
  const ProcessResult doctor = Run({"doctor", "config.yaml"});
  EXPECT_EQ(doctor.code, 4) << doctor.out;
  EXPECT_NE(doctor.out.find(kNan), std::string::npos) << doctor.out;
}

TEST_F(ModelFiles, NanInAnAdapterIsNamed) {
  ASSERT_EQ(Train("out", {}).code, 0);
  ASSERT_EQ(Run({"export", "out", "--site", "site-0", "--out", "exported"}).code, 0);
  const std::string file = "exported/individual/adapter_model.safetensors";
  NamedTensors factors = Read(file);
  factors[0].second[1][2] = std::numeric_limits<double>::infinity();
  Write(file, factors);
  for (const ProcessResult& result : {Run({"generate", "--model", "model", "--adapter", "exported/individual", "--prompt", "what"}),
                                      Train("again", {"adapter.init_from=exported/individual"})}) {
    EXPECT_EQ(result.code, 4) << result.err;
    EXPECT_NE(result.err.find(factors[0].first), std::string::npos) << result.err;
    EXPECT_NE(result.err.find("inf at [1, 2]"), std::string::npos) << result.err;
  }
}

// An adapter means s B A with its own s, whichever lora_alpha, r and use_rslora say so.
TEST_F(ModelFiles, AnInitialAdapterKeepsItsScale) {
  ASSERT_EQ(Train("out", {"method=local"}).code, 0);
  ASSERT_EQ(Run({"export", "out", "--site", "site-0", "--out", "exported"}).code, 0);
  const fs::path config_path = folder_.path() / "exported/individual/adapter_config.json";
  const json plain = json::parse(testing::Slurp(config_path));
  const double r = plain["r"], scale = plain["lora_alpha"].get<double>() / r;
  const auto loss = [&](const std::string& out) {
    const ProcessResult result =
        Train(out, {"method=local", "adapter.init_from=exported/individual", "train.lr=1e-30", "train.weight_decay=0"});
    EXPECT_EQ(result.code, 0) << result.err;
    return json::parse(result.out, nullptr, false)["sites"][0].value("loss", std::nan(""));
  };
  const double before = loss("plain");
  ASSERT_TRUE(std::isfinite(before));
  // The same numbers under rsLoRA's rule are sqrt(r) times as strong; B divided by that is the same adapter again.
  json rs = plain;
  rs["use_rslora"] = true;
  folder_.Write("exported/individual/adapter_config.json", rs.dump());
  NamedTensors factors = Read("exported/individual/adapter_model.safetensors");
  EXPECT_GT(std::abs(loss("stronger") - before), 1e-5) << "the scale counts; r " << r << ", scale " << scale;
  for (auto& [name, tensor] : factors)
    if (name.ends_with("lora_B.weight")) tensor.div_(std::sqrt(r));
  Write("exported/individual/adapter_model.safetensors", factors);
  EXPECT_NEAR(loss("rslora"), before, 1e-5);
}

TEST_F(ModelFiles, AnAdapterOfAnotherRankIsRefusedWithBothRanks) {
  ASSERT_EQ(Train("out", {"method=local"}).code, 0);
  ASSERT_EQ(Run({"export", "out", "--site", "site-0", "--out", "exported"}).code, 0);
  const ProcessResult result = Train("again", {"adapter.init_from=exported/individual", "adapter.r=5", "adapter.lora_alpha=20"});
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_NE(result.err.find("adapter.r is 5"), std::string::npos) << result.err;
  EXPECT_FALSE(fs::exists(folder_.path() / "again/rounds/001"));
}

TEST_F(ModelFiles, AnAdapterThatIsAPickleIsRefusedWithTheWayOut) {
  fs::create_directories(folder_.path() / "bin");
  folder_.Write("bin/adapter_config.json", R"({"peft_type": "LORA", "r": 8, "lora_alpha": 32, "target_modules": ["q_proj"]})");
  folder_.Write("bin/adapter_model.bin", "pickle");
  for (const char* given : {"bin", "bin/adapter_model.bin"}) {
    const ProcessResult result = Train("out", {std::string("adapter.init_from=") + given});
    EXPECT_EQ(result.code, 4) << result.err;
    EXPECT_NE(result.err.find("safe_serialization"), std::string::npos) << given << ": " << result.err;
  }
}

TEST_F(ModelFiles, TensorsThatNothingUsesAreTold) {
  NamedTensors weights = Read(kWeights);
  weights.emplace_back("model.layers.0.self_attn.q_norm.weight", at::ones({8}));
  weights.emplace_back("model.layers.0.self_attn.rotary_emb.inv_freq", at::ones({4}));  // recomputed: no word
  Write(kWeights, weights);
  const ProcessResult result = Train("out", {});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.err.find("q_norm"), std::string::npos) << result.err;
  EXPECT_EQ(result.err.find("inv_freq"), std::string::npos) << result.err;
  EXPECT_NE(Run({"doctor", "config.yaml"}).out.find("q_norm"), std::string::npos);
}

}  // namespace
}  // namespace fedalt
