// A model directory's small files give the tokens that transformers gives (tests/golden/tokenizer_files.py).
#include <fstream>

#include "text/golden_data.h"

namespace fedalt {
namespace {

namespace fs = std::filesystem;

void Write(const fs::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

fs::path Empty(const std::string& name) {
  const fs::path directory = fs::path(testing::TempDir()) / "fedalt_tokenizer_files" / name;
  fs::remove_all(directory);
  fs::create_directories(directory);
  return directory;
}

/// `base`: a folder of tests/data/text, or with ":pair" its vocabulary and merges.
fs::path Directory(const std::string& name, const std::string& base, const Json& files) {
  const fs::path directory = Empty(name);
  const size_t pair = base.find(":pair");
  const fs::path from = golden::DataDirectory() / base.substr(0, pair);
  if (pair == base.npos) {
    for (const auto& file : fs::directory_iterator(from)) fs::copy_file(file.path(), directory / file.path().filename());
  } else {
    const Json model = golden::ReadJson(from / "tokenizer.json")["model"];
    std::string merges = "#version: 0.2\n";
    for (const Json& merge : model["merges"])
      merges += merge.is_string() ? merge.get<std::string>() + "\n"
                                  : merge[0].get<std::string>() + " " + merge[1].get<std::string>() + "\n";
    Write(directory / "vocab.json", model["vocab"].dump());
    Write(directory / "merges.txt", merges);
  }
  for (const auto& [file, content] : files.items()) Write(directory / file, content.dump());
  return directory;
}

std::optional<int32_t> IdOf(const Json& json) {
  return json.is_null() ? std::nullopt : std::optional<int32_t>(json.get<int32_t>());
}

TEST(TokenizerFiles, GiveTheTokensOfTransformers) {
  const Json golden = golden::ReadJson(golden::DataDirectory() / "golden" / "files.json");
  const auto texts = golden["texts"].get<std::vector<std::string>>();
  ASSERT_GE(golden["cases"].size(), 20u);
  int64_t compared = 0;
  for (const Json& wanted : golden["cases"]) {
    SCOPED_TRACE(wanted["name"].get<std::string>());
    const std::string base = wanted["base"];
    if (base.starts_with("asset:") && golden::AssetDirectory().empty()) continue;
    const auto tokenizer = Tokenizer::Load(base.starts_with("asset:") ? golden::AssetDirectory() / base.substr(6)
                                                                      : Directory(wanted["name"], base, wanted["files"]));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    EXPECT_EQ((*tokenizer)->vocab_size(), wanted["vocab_size"].get<int32_t>());
    EXPECT_EQ((*tokenizer)->eos_id(), IdOf(wanted["eos"]));
    // Without a name the number in config.json counts, which transformers leaves aside.
    if (!wanted["bos"].is_null()) EXPECT_EQ((*tokenizer)->bos_id(), IdOf(wanted["bos"]));
    for (size_t i = 0; i < texts.size(); ++i) {
      if (wanted["ids"][i].is_null()) continue;  // transformers departs from SentencePiece
      const auto ids = (*tokenizer)->Encode(texts[i]);
      ASSERT_TRUE(ids.ok()) << ids.status();
      EXPECT_EQ(*ids, wanted["ids"][i].get<std::vector<int32_t>>()) << Json(texts[i]).dump();
      EXPECT_EQ((*tokenizer)->Decode(*ids, false), wanted["decoded"][i][0].get<std::string>()) << Json(texts[i]).dump();
      EXPECT_EQ((*tokenizer)->Decode(*ids, true), wanted["decoded"][i][1].get<std::string>()) << Json(texts[i]).dump();
      ++compared;
    }
  }
  EXPECT_GE(compared, 130);
}

TEST(TokenizerFiles, APairOfNoKnownFamilyIsRefused) {
  for (const Json& files : {Json::object(), Json{{"config.json", {{"model_type", "llama"}}}},
                            Json{{"tokenizer_config.json", {{"tokenizer_class", "PreTrainedTokenizerFast"}}}},
                            Json{{"tokenizer_config.json", {{"tokenizer_class", "RobertaTokenizer"}}}}}) {
    const auto tokenizer = Tokenizer::Load(Directory("pair", "qwen2:pair", files));
    ASSERT_FALSE(tokenizer.ok()) << files.dump();
    EXPECT_EQ(KindOf(tokenizer.status()), ErrorKind::kModel);
  }
}

size_t Notes(const std::string& base, const Json& files) {
  const auto tokenizer = Tokenizer::Load(Directory("notes", base, files));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? (*tokenizer)->notes().size() : 0;
}

TEST(TokenizerFiles, WhatIsNotFollowedIsNoted) {
  EXPECT_EQ(Notes("llama3", Json::object()), 0u);
  const auto config = [](const Json& fields) { return Json{{"tokenizer_config.json", fields}}; };
  EXPECT_EQ(Notes("qwen2", config({{"add_bos_token", true}})), 1u);
  EXPECT_EQ(Notes("qwen2", config({{"add_bos_token", false}, {"add_eos_token", false}})), 0u);
  EXPECT_EQ(Notes("qwen2", config({{"add_eos_token", true}, {"split_special_tokens", true}})), 2u);
  EXPECT_EQ(Notes("qwen2", config({{"clean_up_tokenization_spaces", true}})), 1u);
  EXPECT_EQ(Notes("sp_plain", config({{"sp_model_kwargs", {{"enable_sampling", true}}}})), 1u);
  EXPECT_EQ(Notes("sp_plain", {{"added_tokens.json", {{"<x>", 1000000}}}}), 1u) << "an id that the token does not get";
  Json json = golden::ReadJson(golden::DataDirectory() / "llama3" / "tokenizer.json");
  json["model"]["new_in_2030"] = true;
  json["pre_tokenizer"]["pretokenizers"][0]["also_new"] = 1;
  json["added_tokens"].push_back({{"id", 1000000}, {"content", "<far>"}, {"special", true}});
  EXPECT_EQ(LoadTokenizerJson(json.dump(), SpecialTokens()).value()->notes().size(), 3u);
}

TEST(TokenizerFiles, BrokenListsAreRefused) {
  for (const Json& fields :
       {Json{{"added_tokens_decoder", 1}}, Json{{"added_tokens_decoder", {{"x", {{"content", "a"}}}}}},
        Json{{"added_tokens_decoder", {{"99999999", {{"content", "a"}}}}}}, Json{{"added_tokens_decoder", {{"1", "a"}}}},
        Json{{"eos_token", {{"content", 1}}}}, Json{{"extra_special_tokens", {1}}}}) {
    const auto tokenizer = Tokenizer::Load(Directory("broken", "llama3", {{"tokenizer_config.json", fields}}));
    ASSERT_FALSE(tokenizer.ok()) << fields.dump();
    EXPECT_EQ(KindOf(tokenizer.status()), ErrorKind::kModel);
  }
  EXPECT_FALSE(Tokenizer::Load(Directory("broken", "llama3", {{"added_tokens.json", {{"<x>", -1}}}})).ok());
}

}  // namespace
}  // namespace fedalt
