#include "model/hf_config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kData = fs::path(FEDALT_TEST_DATA) / "hf_config";

#define EXPECT_SAYS(text, part) EXPECT_NE(std::string(text).find(part), std::string::npos) << (text)

void ExpectRope(const ModelConfig& config, const json& want) {
  const RopeScaling& scaling = config.rope_scaling;
  const json& rope = want["rope"];
  EXPECT_EQ(config.max_position_embeddings, want["max_position_embeddings"]);
  EXPECT_DOUBLE_EQ(config.rope_theta, want["rope_theta"]);
  EXPECT_EQ(scaling.type, rope["rope_type"]);
  EXPECT_DOUBLE_EQ(scaling.factor, rope.value("factor", 1.0));
  EXPECT_DOUBLE_EQ(scaling.attention_factor, want["attention_factor"]);
  EXPECT_EQ(scaling.truncate, rope.value("truncate", true));
  if (scaling.type == "yarn") {
    EXPECT_DOUBLE_EQ(scaling.beta_fast, rope.value("beta_fast", 32.0));
    EXPECT_DOUBLE_EQ(scaling.beta_slow, rope.value("beta_slow", 1.0));
  }
  if (rope.contains("original_max_position_embeddings")) {
    EXPECT_EQ(scaling.original_max_position_embeddings, rope["original_max_position_embeddings"]);
  }
  if (rope.contains("low_freq_factor")) {
    EXPECT_DOUBLE_EQ(scaling.low_freq_factor, rope["low_freq_factor"]);
    EXPECT_DOUBLE_EQ(scaling.high_freq_factor, rope["high_freq_factor"]);
  }
  const std::vector<int64_t> windows = want["windows"];
  for (size_t layer = 0; layer < windows.size(); ++layer)
    EXPECT_EQ(static_cast<int64_t>(layer) >= config.sliding_window_first_layer ? config.sliding_window : 0, windows[layer])
        << layer;
}

TEST(ReadModelConfig, AgreesWithTransformers) {
  const json cases = json::parse(ReadFile(kData / "expected.json", ErrorKind::kData).value())["cases"];
  ASSERT_GE(cases.size(), 20u);
  for (const auto& [name, want] : cases.items()) {
    SCOPED_TRACE(name);
    const auto config = ReadModelConfig(kData / name);
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->model_type, want["model_type"]);
    EXPECT_EQ(config->vocab_size, want["vocab_size"]);
    EXPECT_EQ(config->hidden_size, want["hidden_size"]);
    EXPECT_EQ(config->intermediate_size, want["intermediate_size"]);
    EXPECT_EQ(config->num_layers, want["num_layers"]);
    EXPECT_EQ(config->num_heads, want["num_heads"]);
    EXPECT_EQ(config->num_kv_heads, want["num_kv_heads"]);
    EXPECT_EQ(config->head_dim, want["head_dim"]);
    EXPECT_DOUBLE_EQ(config->norm_eps, want["norm_eps"]);
    EXPECT_EQ(config->tie_word_embeddings, want["tie_word_embeddings"]);
    EXPECT_EQ(config->attention_bias, want["attention_bias"]);
    EXPECT_EQ(config->attention_output_bias, want["attention_output_bias"]);
    EXPECT_EQ(config->mlp_bias, want["mlp_bias"]);
    EXPECT_EQ(config->residual_after_layernorm, want["residual_after_layernorm"]);
    EXPECT_EQ(config->bos_token_id, want["bos_token_id"]);
    EXPECT_EQ(config->eos_token_ids, want["eos_token_ids"].get<std::vector<int64_t>>());
    EXPECT_EQ(ParameterCount(*config), want["parameters"]);
    if (config->family != ModelFamily::kBloom) ExpectRope(*config, want);
  }
}

class RefusalTest : public ::testing::Test {
 protected:
  RefusalTest() : directory_(fs::temp_directory_path() / ("fedalt-config-" + std::to_string(::getpid()))) {
    fs::create_directories(directory_);
    good_ = json::parse(ReadFile(kData / "llama31" / "config.json", ErrorKind::kData).value());
  }
  ~RefusalTest() override { fs::remove_all(directory_); }

  std::string ReadBytes(const std::string& bytes, const std::string& name = "config.json") {
    EXPECT_TRUE(WriteFileAtomic(directory_ / name, bytes).ok());
    const auto config = ReadModelConfig(directory_);
    if (config.ok()) return "accepted";
    EXPECT_EQ(KindOf(config.status()), ErrorKind::kModel);
    EXPECT_SAYS(config.status().message(), name);
    return std::string(config.status().message());
  }
  /// llama31 with one field replaced ("a.b" reaches into an object), or without it.
  std::string With(const std::string& field, const json& value) {
    json changed = good_;
    const size_t dot = field.find('.');
    (dot == field.npos ? changed[field] : changed[field.substr(0, dot)][field.substr(dot + 1)]) = value;
    return ReadBytes(changed.dump());
  }
  std::string Without(const std::string& field) {
    json changed = good_;
    changed.erase(field);
    return ReadBytes(changed.dump());
  }

  fs::path directory_;
  json good_;
};

TEST_F(RefusalTest, BrokenFiles) {
  EXPECT_EQ(ReadBytes(good_.dump()), "accepted");
  EXPECT_SAYS(ReadBytes(""), "broken JSON");
  EXPECT_SAYS(ReadBytes("{\n  \"a\": 1,\n  oops\n}"), "line 3, column 3");
  EXPECT_SAYS(ReadBytes("[1]"), "is not a JSON object");
  EXPECT_SAYS(ReadBytes(R"({"model_type":"llama","model_type":"llama"})"), "appears twice");
  EXPECT_SAYS(ReadBytes(std::string(100000, '[')), "nested deeper");
  EXPECT_SAYS(ReadModelConfig(directory_ / "gone").status().message(), "does not exist");
  fs::remove(directory_ / "config.json");
  EXPECT_SAYS(ReadModelConfig(directory_).status().message(), "has no config.json");
}

TEST_F(RefusalTest, UnsupportedModels) {
  EXPECT_SAYS(With("model_type", "gpt2"), "model_type \"gpt2\" is not supported; supported are llama, mistral, qwen2, bloom");
  EXPECT_SAYS(Without("model_type"), "has no \"model_type\"; supported are llama, mistral, qwen2, bloom");
  EXPECT_SAYS(With("quantization_config", {{"quant_method", "gptq"}}), "quantized (quantization_config, \"gptq\")");
  EXPECT_EQ(With("quantization_config", nullptr), "accepted");
  EXPECT_SAYS(With("hidden_act", "gelu"), "\"hidden_act\" is \"gelu\"");
}

TEST_F(RefusalTest, MissingAndWrongFields) {
  for (const char* field : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}) {
    EXPECT_SAYS(Without(field), absl::StrCat("needs the field \"", field, "\""));
    EXPECT_SAYS(With(field, nullptr), absl::StrCat("needs the field \"", field, "\""));
    EXPECT_SAYS(With(field, "64"), absl::StrCat("\"", field, "\" is \""));
    EXPECT_SAYS(With(field, 0), "is \"0\", expected a whole number from 1");
    EXPECT_SAYS(With(field, -8), "is \"-8\", expected a whole number from 1");
    EXPECT_SAYS(With(field, 8.5), "is \"8.5\", expected a whole number");
    EXPECT_SAYS(With(field, 18446744073709551615u), "expected a whole number");
    EXPECT_SAYS(With(field, int64_t{1} << 40), "expected a whole number");
  }
  EXPECT_SAYS(With("num_key_value_heads", 3), "not a multiple of num_key_value_heads (3)");
  EXPECT_SAYS(With("head_dim", 7), "head_dim is 7");
  EXPECT_SAYS(With("head_dim", 65536 * 64), "head_dim");
  EXPECT_SAYS(With("rms_norm_eps", "1e-6"), "\"rms_norm_eps\" is");
  EXPECT_SAYS(With("rms_norm_eps", -1), "expected a number of at least 0");
  EXPECT_SAYS(With("tie_word_embeddings", 1), "expected true or false");
  EXPECT_SAYS(With("eos_token_id", "</s>"), "\"eos_token_id\" is");
  EXPECT_SAYS(With("eos_token_id", json::array({2, -1})), "\"eos_token_id\" is");
  EXPECT_SAYS(With("layer_types", 5), "accepted");  // Llama has no windows: transformers ignores the field
  good_["head_dim"] = nullptr;
  EXPECT_SAYS(With("hidden_size", 66), "hidden_size (66) is not a multiple of num_attention_heads (4)");
}

TEST_F(RefusalTest, RopeParameters) {
  EXPECT_SAYS(With("rope_parameters", 3), "\"rope_parameters\" is \"3\", expected a JSON object");
  EXPECT_SAYS(With("rope_parameters.rope_type", "longrope"),
              "rope type \"longrope\" is not supported; default, linear, dynamic, llama3 and yarn are");
  EXPECT_SAYS(With("rope_parameters.rope_type", 3), "\"rope_parameters.rope_type\" is \"3\", expected a string");
  EXPECT_SAYS(With("rope_parameters.factor", nullptr), "needs the field \"rope_parameters.factor\"");
  EXPECT_SAYS(With("rope_parameters.factor", 0), "expected a number above 0");
  EXPECT_SAYS(With("rope_parameters.rope_theta", -1), "\"rope_parameters.rope_theta\" is \"-1\"");
  EXPECT_SAYS(With("rope_parameters.low_freq_factor", 4.0), "must be above low_freq_factor");
  EXPECT_SAYS(With("rope_parameters.partial_rotary_factor", 0.5), "partly rotated heads are not supported");
  EXPECT_SAYS(With("rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}), "per layer type are not supported");
}

TEST_F(RefusalTest, SlidingWindows) {
  good_["model_type"] = "qwen2";
  good_["use_sliding_window"] = true;
  good_["sliding_window"] = 16;
  EXPECT_SAYS(With("sliding_window", 0), "\"sliding_window\" is \"0\"");
  EXPECT_SAYS(With("layer_types", json::array({"full_attention"})), "not a list of 3 strings");
  EXPECT_SAYS(With("layer_types", json::array({"sliding_attention", "full_attention", "sliding_attention"})), "for layer 1");
  EXPECT_SAYS(With("layer_types", json::array({1, 2, 3})), "for layer 0");
  EXPECT_EQ(With("layer_types", json::array({"full_attention", "sliding_attention", "sliding_attention"})), "accepted");
  good_["model_type"] = "mistral";
  EXPECT_SAYS(With("layer_types", json::array({"full_attention", "sliding_attention", "sliding_attention"})),
              "set sliding_window to null");
}

TEST_F(RefusalTest, GenerationConfig) {
  ASSERT_EQ(ReadBytes(good_.dump()), "accepted");
  EXPECT_SAYS(ReadBytes("{", "generation_config.json"), "broken JSON");
  EXPECT_SAYS(ReadBytes(R"({"eos_token_id":true})", "generation_config.json"), "\"eos_token_id\" is \"true\"");
  EXPECT_EQ(ReadBytes(R"({"eos_token_id":[300,7]})", "generation_config.json"), "accepted");
  EXPECT_EQ(ReadModelConfig(directory_)->eos_token_ids, (std::vector<int64_t>{300, 301, 302, 7}));
}

TEST(ReadModelConfig, ReadsARealModel) {
  const char* assets = std::getenv("FEDALT_TEST_ASSETS");
  if (assets == nullptr) GTEST_SKIP() << "FEDALT_TEST_ASSETS is not set: no folder with real models";
  const auto config = ReadModelConfig(fs::path(assets) / "models" / "tinystories-656k");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->num_kv_heads, 4);
  EXPECT_EQ(config->head_dim, 16);
}

}  // namespace
}  // namespace fedalt
