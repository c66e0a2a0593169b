// Ids and text are those of the original libraries, string by string (tests/golden/tokenizers.py).
#include <algorithm>

#include "text/golden_data.h"

namespace fedalt {
namespace {

/// What the libraries load: the file alone, and GPT-2's pair as GPT-2's.
StatusOr<std::shared_ptr<const Tokenizer>> Original(const std::filesystem::path& path) {
  SpecialTokens special;
  if (path.extension() == ".model") return LoadSentencePiece(golden::ReadText(path), special);
  if (path.extension() == ".json") return LoadTokenizerJson(golden::ReadText(path), special);
  special.tokenizer_class = "GPT2Tokenizer";
  return LoadVocabAndMerges(golden::ReadText(path / "vocab.json"), golden::ReadText(path / "merges.txt"), special);
}

void Compare(const std::string& name, bool with_flan) {
  const Json golden = golden::ReadJson(golden::DataDirectory() / "golden" / (name + ".json"));
  const bool is_asset = golden.contains("asset");
  const std::filesystem::path path = is_asset ? golden::AssetDirectory() / golden["asset"].get<std::string>()
                                              : golden::DataDirectory() / golden["data"].get<std::string>();
  const auto tokenizer = Original(path);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocab_size(), golden["vocab_size"].get<int32_t>());
  const auto full = golden["full_ids"].get<std::vector<std::vector<int32_t>>>();
  for (size_t i = 0; i < full.size(); ++i) {
    const auto ids = (*tokenizer)->Encode(golden::Strings()[i]);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, full[i]) << "string " << i << ": " << Json(golden::Strings()[i]).dump();
  }
  EXPECT_EQ(golden::CountDifferences(**tokenizer, golden::Strings(), golden["strings_ids"], golden["strings_text"], 6), 0);
  if (with_flan) {
    EXPECT_EQ(golden::CountDifferences(**tokenizer, golden::FlanStrings(), golden["flan_ids"], golden["flan_text"], 6), 0);
  }

  const std::vector<std::vector<int32_t>> lists = golden::RandomIds((*tokenizer)->vocab_size());
  const auto full_text = golden["full_text"].get<std::vector<std::string>>();
  for (size_t i = 0; i < full_text.size(); ++i) EXPECT_EQ((*tokenizer)->Decode(lists[i]), full_text[i]);
  const std::string hashes = golden["random_text"];
  int differences = 0;
  for (size_t i = 0; i < lists.size(); ++i) {
    const std::string text = (*tokenizer)->Decode(lists[i], false) + '\0' + (*tokenizer)->Decode(lists[i], true);
    if (golden::HashOfText(text) == hashes.substr(i * 6, 6)) continue;
    if (++differences <= 5) ADD_FAILURE() << "text of ids " << Json(lists[i]).dump() << " differs: " << Json(text).dump();
  }
  EXPECT_EQ(differences, 0);
}

class Committed : public testing::TestWithParam<const char*> {};
TEST_P(Committed, EqualsTheOriginal) {
  Compare(GetParam(), !golden::AssetDirectory().empty());
}
INSTANTIATE_TEST_SUITE_P(Tokenizers, Committed,
                         testing::Values("llama3", "qwen2", "bloom", "metaspace", "gemma", "suffixed", "word_level", "added",
                                         "sp_rules", "sp_plain", "sp_suffix", "sp_unused"),
                         [](const auto& info) { return std::string(info.param); });

class Asset : public testing::TestWithParam<const char*> {};
TEST_P(Asset, EqualsTheOriginal) {
  if (golden::AssetDirectory().empty()) GTEST_SKIP() << "FEDALT_TEST_ASSETS does not name the folder of the shared tokenizers";
  Compare(GetParam(), true);
}
INSTANTIATE_TEST_SUITE_P(Tokenizers, Asset,
                         testing::Values("falcon", "gpt2", "llama2_json", "llama2_model", "mistral_v1", "mistral_v3", "phi2",
                                         "phi3", "tinystories"),
                         [](const auto& info) { return std::string(info.param); });

// Other pipelines around the committed vocabularies: every pre-tokenizer, normalizer and decoder, and the syntax of patterns.
TEST(Variants, EqualTheOriginal) {
  const Json golden = golden::ReadJson(golden::DataDirectory() / "golden" / "variants.json");
  ASSERT_GT(golden["variants"].size(), 80u);
  for (const Json& variant : golden["variants"]) {
    SCOPED_TRACE(variant["name"].get<std::string>());
    Json json = golden::ReadJson(golden::DataDirectory() / variant["base"].get<std::string>() / "tokenizer.json");
    for (const auto& [name, section] : variant["sections"].items()) json[name] = section;
    if (variant.contains("model")) json["model"].update(variant["model"]);
    const auto tokenizer = LoadTokenizerJson(json.dump(), SpecialTokens());
    if (!tokenizer.ok()) {
      ADD_FAILURE() << tokenizer.status();
      continue;
    }
    EXPECT_EQ(golden::CountDifferences(**tokenizer, golden::Strings(), variant["strings_ids"], variant["strings_text"], 2), 0);
  }
}

}  // namespace
}  // namespace fedalt
