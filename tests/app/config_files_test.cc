#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "app/config.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

// A folder with a configuration, a pretended model and the data of two sites; removed at the end.
class ConfigFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "fedalt-config-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    Write("models/tiny/config.json", "{\"model_type\": \"llama\"}");
    Write("models/tiny/model.safetensors", "weights");
    Write("models/tiny/tokenizer.json", "{}");
    Write("models/tiny/README.md", "not an input");
    for (const char* file : {"train_0.json", "train_1.json", "test_0.json", "test_1.json"})
      Write(std::string("data/") + file, file);
    Write("c.yaml", "model: models/tiny\ndata: {train: 'data/train_{site}.json', test: 'data/test_{site}.json'}\nsites: 2\n");
  }
  void TearDown() override { fs::remove_all(folder_); }

  void Write(const std::string& name, const std::string& text) {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text;
  }
  StatusOr<ParsedConfig> Load(const std::vector<std::string>& overrides = {}) { return LoadConfig(folder_ / "c.yaml", overrides); }
  void ExpectError(const Status& status, ErrorKind kind, const std::string& part) {
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(KindOf(status), kind) << status;
    EXPECT_NE(status.message().find(part), std::string::npos) << status;
  }

  fs::path folder_;
};

TEST_F(ConfigFiles, RelativePathsStartAtTheConfiguration) {
  const StatusOr<ParsedConfig> parsed = Load();
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->config.model, folder_ / "models/tiny");
  EXPECT_EQ(parsed->config.sites[1].train, folder_ / "data/train_1.json");
}

TEST_F(ConfigFiles, ThenAtTheWorkingDirectory) {
  const fs::path before = fs::current_path();
  Write("elsewhere/here_0.json", "x");
  Write("elsewhere/here_1.json", "x");
  fs::current_path(folder_ / "elsewhere");
  const StatusOr<ParsedConfig> parsed = Load({"data.train=here_{site}.json"});
  fs::current_path(before);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->config.sites[0].train, folder_ / "elsewhere/here_0.json");
}

TEST_F(ConfigFiles, MissingInputsAreNamed) {
  ExpectError(Load({"sites=3"}).status(), ErrorKind::kData, "train_2.json");
  ExpectError(Load({"sites=3"}).status(), ErrorKind::kData, "site-2");
  ExpectError(Load({"model=meta-llama/Llama-2-7b-hf"}).status(), ErrorKind::kModel, "meta-llama/Llama-2-7b-hf");
  ExpectError(Load({"model=c.yaml"}).status(), ErrorKind::kModel, "c.yaml is a file; expected a directory");
  Write("llama.gguf", "GGUF\x03");
  ExpectError(Load({"model=llama.gguf"}).status(), ErrorKind::kModel, "is a GGUF file");
  ExpectError(Load({"model=models/tiny/model.safetensors"}).status(), ErrorKind::kModel, "is a single safetensors file");
  ExpectError(Load({"adapter.init_from=start_{site}"}).status(), ErrorKind::kModel, "start_0");
  ExpectError(LoadConfig(folder_ / "absent.yaml", {}).status(), ErrorKind::kConfig, "absent.yaml");
  ExpectError(LoadConfig(folder_, {}).status(), ErrorKind::kConfig, folder_.string());
}

TEST_F(ConfigFiles, InitialAdaptersPerSite) {
  for (const char* file : {"start_0/adapter_config.json", "start_0/adapter_model.safetensors", "start_1/adapter_config.json"})
    Write(file, "{}");
  ExpectError(Load({"adapter.init_from=start_{site}"}).status(), ErrorKind::kModel, "start_1 has no adapter_model.safetensors");
  Write("start_1/adapter_model.safetensors", "{}");
  const StatusOr<ParsedConfig> parsed = Load({"adapter.init_from=start_{site}"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->config.initial_adapter, folder_ / "start_{site}");
}

TEST_F(ConfigFiles, BloomAdaptsItsOneAttentionLinear) {
  Write("models/tiny/config.json", "{\"model_type\": \"bloom\"}");
  for (const std::string preset : {"none", "paper"}) {
    const StatusOr<ParsedConfig> parsed = Load({"preset=" + preset});
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->config.federation.adapter.target_modules, std::vector<std::string>{"query_key_value"});
  }
}

TEST_F(ConfigFiles, ResolvedConfigurationIsCompleteAndStable) {
  const StatusOr<ParsedConfig> parsed = Load({"preset=recommended"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const StatusOr<FileHashes> hashes = HashInputs(parsed->config);
  ASSERT_TRUE(hashes.ok()) << hashes.status();
  EXPECT_EQ(hashes->size(), 3u + 4u);
  EXPECT_EQ(hashes->at((folder_ / "models/tiny/model.safetensors").string()),
            "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c")
      << "sha256sum of the word weights";
  const std::string yaml = RunConfigToYaml(parsed->config, *hashes);
  Write("run/config.yaml", yaml);
  const StatusOr<ParsedConfig> again = LoadConfig(folder_ / "run/config.yaml", {});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(RunConfigToYaml(again->config, again->hashes), yaml);
  EXPECT_EQ(again->hashes, *hashes);
}

TEST_F(ConfigFiles, ChangedInputsAreNamed) {
  const StatusOr<ParsedConfig> parsed = Load();
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const FileHashes hashes = HashInputs(parsed->config).value();
  EXPECT_TRUE(VerifyHashes(parsed->config, hashes).ok());
  Write("data/test_1.json", "changed");
  ExpectError(VerifyHashes(parsed->config, hashes), ErrorKind::kData, "test_1.json has changed");
  Write("data/test_1.json", "test_1.json");
  Write("models/tiny/tokenizer.json", "[]");
  ExpectError(VerifyHashes(parsed->config, hashes), ErrorKind::kConfig, "tokenizer.json has changed");
  fs::remove(folder_ / "models/tiny/tokenizer.json");
  ExpectError(VerifyHashes(parsed->config, hashes), ErrorKind::kConfig, "tokenizer.json");
}

TEST_F(ConfigFiles, BrokenHashesAreRefused) {
  Write("c.yaml",
        "model: models/tiny\ndata: {train: 'data/train_{site}.json', test: 'data/test_{site}.json'}\nsites: 2\nhashes: {a: 12}\n");
  ExpectError(Load().status(), ErrorKind::kConfig, "64 lower-case hexadecimal digits");
}

}  // namespace
}  // namespace fedalt
