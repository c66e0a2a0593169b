// PEFT directories in both directions: stock peft's are read, ours are byte for byte those that stock peft has loaded, and the
// logits agree.
#include "adapter/peft_directory.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "adapter/site_adapters.h"
#include "model/safetensors.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kPeft = FEDALT_TEST_DATA "/adapter/peft";

std::string Bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

std::shared_ptr<const Transformer> TinyModel() {
  auto model = Transformer::Load(FEDALT_TEST_DATA "/train/tiny-llama", {at::kFloat});
  EXPECT_TRUE(model.ok()) << model.status();
  return *model;
}

at::Tensor Golden(const std::string& name) {
  static const auto files = TensorFiles::OpenFile(kPeft / "logits.safetensors");
  EXPECT_TRUE(files.ok()) << files.status();
  return *(*files)->Get(name);
}

at::Tensor Logits(const Transformer& model, SiteAdapters& adapters) {
  ForwardContext context;
  context.extensions = &adapters.extensions();
  const at::NoGradGuard no_grad;
  const at::Tensor tokens = Golden("tokens");
  return model.Logits(model.Hidden({tokens, {0, tokens.size(0)}}, context));
}

double Worst(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

/// The adapters of the golden training run, before it: neither branch is zero.
std::unique_ptr<SiteAdapters> TrainingAdapters(const Transformer& model) {
  AdapterConfig config;
  config.r = 4;
  config.lora_alpha = 8;
  auto adapters = std::make_unique<SiteAdapters>(*FindAdaptedModules(model, config), config);
  const auto files = TensorFiles::OpenFile(FEDALT_TEST_DATA "/train/steps/initial.safetensors");
  const auto part = [&](const std::string& name, NamedTensors like) {
    for (auto& [key, tensor] : like) tensor = *(*files)->Get(name + "/" + key);
    return like;
  };
  EXPECT_TRUE(adapters->SetIndividual(part("individual", adapters->Individual())).ok());
  EXPECT_TRUE(adapters->SetRestOfWorld(part("rest_of_world", adapters->RestOfWorld())).ok());
  return adapters;
}

/// A directory of its own per test, removed at its end.
class PeftDirectory : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        fs::temp_directory_path() / (std::string("fedalt-") + ::testing::UnitTest::GetInstance()->current_test_info()->name() +
                                     "-" + std::to_string(::getpid()));
    fs::remove_all(directory_);
    fs::create_directories(directory_);
  }
  void TearDown() override { fs::remove_all(directory_); }

  /// A copy of stock peft's directory whose configuration has been changed.
  Status ReadChanged(const json& changes) {
    json config = json::parse(Bytes(kPeft / "from_peft" / "adapter_config.json"));
    config.update(changes);
    std::ofstream(directory_ / "adapter_config.json") << config.dump();
    fs::copy_file(kPeft / "from_peft" / "adapter_model.safetensors", directory_ / "adapter_model.safetensors",
                  fs::copy_options::overwrite_existing);
    return ReadPeftDirectory(directory_).status();
  }
  void ExpectRefused(const Status& status, const std::string& words) {
    EXPECT_EQ(KindOf(status), ErrorKind::kModel) << status;
    EXPECT_NE(std::string(status.message()).find(words), std::string::npos) << status << " lacks " << words;
  }

  fs::path directory_;
};

TEST_F(PeftDirectory, ReadsWhatStockPeftWrote) {
  const auto model = TinyModel();
  for (const char* name : {"from_peft", "from_peft_rslora"}) {
    const auto read = ReadPeftDirectory(kPeft / name);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->metadata.base_model_name_or_path, "tiny-llama");
    AdapterConfig config;
    config.r = read->metadata.r;
    config.lora_alpha = read->metadata.lora_alpha;
    config.target_modules = read->metadata.target_modules;
    const auto modules = FindAdaptedModules(*model, config);
    ASSERT_TRUE(modules.ok()) << modules.status();
    SiteAdapters adapters(*modules, config);
    const Status set = adapters.SetIndividual(read->factors);
    ASSERT_TRUE(set.ok()) << set;
    adapters.mode().branches = BranchMode::kIndividualAlone;
    EXPECT_LT(Worst(Logits(*model, adapters), Golden(name)), 1e-4) << name;
    adapters.mode().branches = BranchMode::kBase;
    EXPECT_LT(Worst(Logits(*model, adapters), Golden("base")), 1e-4);
  }
}

TEST_F(PeftDirectory, WritesWhatStockPeftLoads) {
  const auto model = TinyModel();
  auto adapters = TrainingAdapters(*model);
  PeftMetadata metadata;
  metadata.base_model_name_or_path = "tiny-llama";
  metadata.lora_alpha = 8;
  metadata.lora_dropout = 0.05;
  metadata.r = 4;
  const bool update = std::getenv("FEDALT_UPDATE_GOLDEN") != nullptr;
  const fs::path target = update ? kPeft / "written" : directory_;
  ASSERT_TRUE(WritePeftDirectory(target / "individual", adapters->Individual(), metadata).ok());
  ASSERT_TRUE(WritePeftDirectory(target / "rest_of_world", adapters->RestOfWorld(), metadata).ok());
  if (update) GTEST_SKIP() << "wrote " << target << "; now run tests/golden/peft_adapters.py";
  for (const char* name : {"individual", "rest_of_world"})
    for (const char* file : {"adapter_config.json", "adapter_model.safetensors"})
      EXPECT_EQ(Bytes(target / name / file), Bytes(kPeft / "written" / name / file)) << name << "/" << file;
  adapters->mode().branches = BranchMode::kIndividualAlone;
  EXPECT_LT(Worst(Logits(*model, *adapters), Golden("individual")), 1e-4);
  adapters->mode().branches = BranchMode::kRestOfWorldAlone;
  EXPECT_LT(Worst(Logits(*model, *adapters), Golden("rest_of_world")), 1e-4);
}

TEST_F(PeftDirectory, RoundTrip) {
  const auto model = TinyModel();
  auto adapters = TrainingAdapters(*model);
  PeftMetadata metadata;
  metadata.r = 4;
  metadata.lora_alpha = 7.5;
  metadata.base_model_name_or_path = "bytes \xff that are not UTF-8";
  ASSERT_TRUE(WritePeftDirectory(directory_, adapters->Individual(), metadata).ok());
  const auto read = ReadPeftDirectory(directory_);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->metadata.lora_alpha, 7.5);
  EXPECT_EQ(read->metadata.target_modules, (std::vector<std::string>{"q_proj", "v_proj"}));
  SiteAdapters other(adapters->modules(), adapters->config());
  ASSERT_TRUE(other.SetIndividual(read->factors).ok());
  for (size_t i = 0; i < other.Individual().size(); ++i)
    EXPECT_TRUE(at::equal(other.Individual()[i].second, adapters->Individual()[i].second));
}

TEST_F(PeftDirectory, RefusesByName) {
  EXPECT_TRUE(ReadChanged(json::object()).ok());
  ExpectRefused(ReadChanged({{"peft_type", "LOHA"}}), "LOHA");
  ExpectRefused(ReadChanged({{"use_dora", true}}), "DoRA");
  ExpectRefused(ReadChanged({{"rank_pattern", {{"q_proj", 2}}}}), "rank_pattern");
  ExpectRefused(ReadChanged({{"alpha_pattern", {{"q_proj", 2}}}}), "alpha_pattern");
  ExpectRefused(ReadChanged({{"modules_to_save", {"lm_head"}}}), "modules_to_save");
  ExpectRefused(ReadChanged({{"bias", "all"}}), "bias");
  ExpectRefused(ReadChanged({{"fan_in_fan_out", true}}), "fan_in_fan_out");
  ExpectRefused(ReadChanged({{"init_lora_weights", "pissa_niter_4"}}), "pissa");
  ExpectRefused(ReadChanged({{"r", 0}}), "\"r\" is 0");
  ExpectRefused(ReadChanged({{"r", "4"}}), "whole number");
  ExpectRefused(ReadChanged({{"r", 1e300}}), "whole number");
  ExpectRefused(ReadChanged({{"r", 5}}), "(5, d_in) is expected");
  ExpectRefused(ReadChanged({{"lora_alpha", "x"}}), "lora_alpha");
}

TEST_F(PeftDirectory, RefusesBrokenDirectories) {
  ExpectRefused(ReadPeftDirectory(directory_ / "absent").status(), "adapter_config.json");
  std::ofstream(directory_ / "adapter_config.json") << "{\"r\": ";
  ExpectRefused(ReadPeftDirectory(directory_).status(), "adapter_config.json");
  std::ofstream(directory_ / "adapter_config.json") << "[1]";
  ExpectRefused(ReadPeftDirectory(directory_).status(), "object");
  std::ofstream(directory_ / "adapter_config.json") << "{\"r\": 2}";
  ExpectRefused(ReadPeftDirectory(directory_).status(), "adapter_model.safetensors");
  std::ofstream(directory_ / "adapter_model.bin") << "x";
  ExpectRefused(ReadPeftDirectory(directory_).status(), "pickle");
  const auto with = [&](const NamedTensors& tensors) {
    EXPECT_TRUE(WriteSafetensors(directory_ / "adapter_model.safetensors", tensors).ok());
    return ReadPeftDirectory(directory_).status();
  };
  const at::Tensor a = at::ones({2, 3}), b = at::ones({4, 2});
  ExpectRefused(with({{"base_model.model.q.lora_A.weight", a}}), "no lora_B");
  ExpectRefused(with({{"base_model.model.q.lora_B.weight", b}}), "no lora_A");
  ExpectRefused(with({{"base_model.model.e.lora_embedding_A", a}}), "lora_embedding_A");
  ExpectRefused(with({{"base_model.model.q.lora_A.weight", b}, {"base_model.model.q.lora_B.weight", b}}), "(2, d_in)");
  ExpectRefused(with({{"base_model.model.q.lora_A.weight", at::ones({2, 3}, at::kLong)}, {"base_model.model.q.lora_B.weight", b}}),
                "floating-point");
  EXPECT_TRUE(with({{"base_model.model.q.lora_A.weight", a.to(at::kBFloat16)}, {"base_model.model.q.lora_B.weight", b}}).ok());
  PeftMetadata metadata;
  EXPECT_EQ(KindOf(WritePeftDirectory(directory_, {{"q.lora_A.weight", a}, {"q.lora_B.weight", b}}, metadata)), ErrorKind::kModel);
}

}  // namespace
}  // namespace fedalt
