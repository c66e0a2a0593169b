// Every broken or unsupported tokenizer file is refused with a sentence that names what is wrong.
#include <atomic>
#include <fstream>

#include "text/golden_data.h"
#include "text/regex.h"

namespace fedalt {
namespace {

std::filesystem::path TestDirectory() {
  const auto* info = testing::UnitTest::GetInstance()->current_test_info();
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "fedalt_text" / info->name();
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  return path;
}

void Write(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

Json Small() {
  return Json::parse(R"({"added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}})");
}

/// Loads `json` with `change` applied and expects a refusal that holds `words`.
void ExpectRefused(const std::function<void(Json&)>& change, const std::string& words) {
  Json json = Small();
  change(json);
  const auto tokenizer = LoadTokenizerJson(json.dump(), SpecialTokens());
  ASSERT_FALSE(tokenizer.ok()) << words;
  EXPECT_EQ(KindOf(tokenizer.status()), ErrorKind::kModel) << words;
  EXPECT_NE(std::string(tokenizer.status().message()).find(words), std::string::npos) << tokenizer.status();
}

void ExpectRefusedBytes(std::string_view bytes, const std::string& words) {
  const auto tokenizer = LoadTokenizerJson(bytes, SpecialTokens());
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_NE(std::string(tokenizer.status().message()).find(words), std::string::npos) << tokenizer.status();
}

TEST(BadTokenizerJson, TheSmallOneWorks) {
  const auto tokenizer = LoadTokenizerJson(Small().dump(), SpecialTokens());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->Encode("abxba").value(), (std::vector<int32_t>{2, 1, 0}));
}

TEST(BadTokenizerJson, BrokenText) {
  ExpectRefusedBytes("", "broken JSON");
  ExpectRefusedBytes("{\"model\": {\"vocab\": {\"a\": 0", "broken JSON");
  ExpectRefusedBytes("[1, 2]", "expected the object of a tokenizer.json");
  ExpectRefusedBytes("{}", "'model' is missing");
  ExpectRefusedBytes("{\"model\": {\"vocab\": {\"\xFF\": 0}}}", "broken JSON");
  ExpectRefusedBytes("{\"model\": {\"vocab\": {\"\\ud800\": 0}}}", "broken JSON");
  ExpectRefusedBytes(std::string(100000, '['), "nested deeper than");
  std::string deep = "{\"normalizer\": ";
  for (int i = 0; i < 1000; ++i) deep += R"({"type": "Sequence", "normalizers": [)";
  ExpectRefusedBytes(deep, "nested deeper than");
}

TEST(BadTokenizerJson, EveryTruncationIsRefused) {
  const std::string whole = golden::ReadText(golden::DataDirectory() / "added" / "tokenizer.json");
  for (size_t size = 0; size + 2 < whole.size(); size += 97)
    EXPECT_FALSE(LoadTokenizerJson(std::string_view(whole).substr(0, size), SpecialTokens()).ok()) << size;
}

TEST(BadTokenizerJson, Vocabulary) {
  ExpectRefused([](Json& j) { j["model"].erase("vocab"); }, "'vocab' is absent");
  ExpectRefused([](Json& j) { j["model"]["vocab"] = Json::array({"a"}); }, "expected an object of tokens and ids");
  ExpectRefused([](Json& j) { j["model"]["vocab"]["ab"] = 1; }, "to two tokens");
  ExpectRefused([](Json& j) { j["model"]["vocab"]["ab"] = -1; }, "expected a whole number");
  ExpectRefused([](Json& j) { j["model"]["vocab"]["ab"] = 4000000000u; }, "expected a whole number");
  ExpectRefused([](Json& j) { j["model"]["vocab"]["ab"] = 18446744073709551615u; }, "expected a whole number");
  ExpectRefused([](Json& j) { j["model"]["vocab"]["ab"] = 1.5; }, "expected a whole number");
  ExpectRefused([](Json& j) { j["model"]["vocab"]["ab"] = "2"; }, "expected a whole number");
}

TEST(BadTokenizerJson, Merges) {
  ExpectRefused([](Json& j) { j["model"].erase("merges"); }, "'merges' is absent");
  ExpectRefused([](Json& j) { j["model"]["merges"] = Json::parse(R"([["a", "x"]])"); }, "needs the token 'x'");
  ExpectRefused([](Json& j) { j["model"]["merges"] = Json::parse(R"([["b", "a"]])"); }, "needs the token 'ba'");
  ExpectRefused([](Json& j) { j["model"]["merges"] = Json::array({"ab"}); }, "expected two tokens");
  ExpectRefused([](Json& j) { j["model"]["merges"] = Json::array({"a b c"}); }, "expected two tokens");
  ExpectRefused([](Json& j) { j["model"]["merges"] = Json::parse(R"([["a", "b", "ab"]])"); }, "expected \"a b\"");
  ExpectRefused([](Json& j) { j["model"]["merges"] = Json::array({1}); }, "expected \"a b\"");
  ExpectRefused([](Json& j) { j["model"]["continuing_subword_prefix"] = "####"; }, "needs the token");
}

TEST(BadTokenizerJson, UnsupportedParts) {
  ExpectRefused([](Json& j) { j["model"]["type"] = "Unigram"; }, "model 'Unigram' is not supported; BPE and WordLevel are");
  ExpectRefused([](Json& j) { j["model"]["type"] = "WordPiece"; }, "WordPiece");
  ExpectRefused([](Json& j) { j["model"]["dropout"] = 0.1; }, "dropout");
  ExpectRefused([](Json& j) { j["normalizer"] = {{"type", "Precompiled"}}; }, "normalizer 'Precompiled' is not supported");
  ExpectRefused([](Json& j) { j["normalizer"] = "NFC"; }, "expected an object or null");
  ExpectRefused([](Json& j) { j["normalizer"] = Json::object(); }, "'type' is absent");
  ExpectRefused([](Json& j) { j["normalizer"] = {{"type", "Sequence"}}; }, "no list 'normalizers'");
  ExpectRefused([](Json& j) { j["normalizer"] = {{"type", "Replace"}, {"content", ""}}; }, "'pattern' is neither");
  ExpectRefused(
      [](Json& j) {
        j["normalizer"] = {{"type", "Replace"}, {"content", ""}, {"pattern", {{"Regex", "a*"}}}};
      },
      "match nothing");
  ExpectRefused([](Json& j) { j["pre_tokenizer"] = {{"type", "BertPreTokenizer"}}; }, "pre-tokenizer 'BertPreTokenizer'");
  ExpectRefused(
      [](Json& j) {
        j["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"String", " "}}}, {"behavior", "Odd"}};
      },
      "'Odd'");
  ExpectRefused([](Json& j) { j["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "__"}}; }, "expected one character");
  ExpectRefused(
      [](Json& j) {
        j["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "x"}};
      },
      "prepend_scheme");
  ExpectRefused([](Json& j) { j["decoder"] = {{"type", "CTC"}}; }, "decoder 'CTC' is not supported");
  ExpectRefused([](Json& j) { j["decoder"] = {{"type", "Strip"}, {"content", ""}, {"start", 1}, {"stop", 0}}; }, "one character");
  ExpectRefused([](Json& j) { j["decoder"] = {{"type", "Strip"}, {"content", " "}, {"start", -1}, {"stop", 0}}; }, "'start'");
  ExpectRefused([](Json& j) { j["post_processor"] = {{"type", "BertProcessing"}}; }, "post-processor 'BertProcessing'");
  ExpectRefused(
      [](Json& j) {
        j["post_processor"] = {{"type", "TemplateProcessing"}, {"single", {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}}}};
      },
      "has no ids in 'special_tokens'");
}

TEST(BadTokenizerJson, AddedTokens) {
  ExpectRefused([](Json& j) { j["added_tokens"] = 3; }, "expected a list");
  ExpectRefused([](Json& j) { j["added_tokens"] = {{{"id", 3}}}; }, "'content' is absent");
  ExpectRefused([](Json& j) { j["added_tokens"] = {{{"content", "<s>"}}}; }, "'id' is absent");
  ExpectRefused([](Json& j) { j["added_tokens"] = {{{"content", "<s>"}, {"id", 1e18}}}; }, "'id'");
  ExpectRefused([](Json& j) { j["added_tokens"] = {{{"content", "<s>"}, {"id", 3}, {"special", "yes"}}}; }, "'special'");
}

TEST(BadPattern, IsRefusedByName) {
  for (const char* pattern : {"(",
                              ")",
                              "[",
                              "[]",
                              "[a",
                              "a)",
                              "\\",
                              "*",
                              "(?<name>a)",
                              "\\1",
                              "(?~a)",
                              "(?{x})",
                              "\\p{NoSuchThing}",
                              "\\p{L",
                              "\\pL",
                              "[z-a]",
                              "\\x{110000}",
                              "\\xE9",
                              "a(?i)b",
                              "[[:no:]]",
                              "\\X",
                              "\\K",
                              "\\G",
                              "a{3,2}",
                              "(?<=a*)b",
                              "\xFF",
                              "[a&&]",
                              "\\x{d800}"}) {
    const StatusOr<Regex> regex = Regex::FromOniguruma(pattern);
    ASSERT_FALSE(regex.ok()) << pattern;
    EXPECT_EQ(KindOf(regex.status()), ErrorKind::kModel);
    EXPECT_NE(std::string(regex.status().message()).find("is not supported"), std::string::npos) << regex.status();
  }
  EXPECT_FALSE(Regex::FromOniguruma(std::string(1000, '(')).ok());
  EXPECT_FALSE(Regex::FromOniguruma(std::string(1000, '[')).ok());
  EXPECT_FALSE(Regex::FromOniguruma(std::string(100000, 'a')).ok());
}

TEST(BadPattern, ThatWouldTakeForeverIsStopped) {
  const StatusOr<Regex> regex = Regex::FromOniguruma("(?:a+a+)+b|(?:a|aa)+c");
  ASSERT_TRUE(regex.ok()) << regex.status();
  const auto spans = regex->FindAll(std::string(200, 'a'));
  ASSERT_FALSE(spans.ok());
  EXPECT_EQ(KindOf(spans.status()), ErrorKind::kData);
}

TEST(BadText, InvalidUtf8IsRefused) {
  for (const char* name : {"llama3/tokenizer.json", "sp_plain/tokenizer.model"}) {
    const auto tokenizer = Tokenizer::Load(golden::DataDirectory() / name);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    for (const char* text : {"a\xFF", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "abc\xE4\xBD", "\x80"}) {
      const auto ids = (*tokenizer)->Encode(text);
      ASSERT_FALSE(ids.ok());
      EXPECT_EQ(KindOf(ids.status()), ErrorKind::kData);
      EXPECT_NE(std::string(ids.status().message()).find("not valid UTF-8 at byte"), std::string::npos) << ids.status();
    }
  }
}

TEST(BadText, IdsOutOfRangeAreSkipped) {
  for (const char* name : {"llama3/tokenizer.json", "sp_plain/tokenizer.model"}) {
    const auto tokenizer = Tokenizer::Load(golden::DataDirectory() / name).value();
    const int32_t a = tokenizer->IdOf("a").value();
    EXPECT_EQ(tokenizer->Decode(std::vector<int32_t>{-1, a, 1 << 30, tokenizer->vocab_size()}), "a");
  }
}

TEST(BadSentencePiece, Bytes) {
  const auto refused = [](std::string_view bytes, const std::string& words) {
    const auto tokenizer = LoadSentencePiece(bytes, SpecialTokens());
    ASSERT_FALSE(tokenizer.ok()) << words;
    EXPECT_EQ(KindOf(tokenizer.status()), ErrorKind::kModel);
    EXPECT_NE(std::string(tokenizer.status().message()).find(words), std::string::npos) << tokenizer.status();
  };
  using std::string_literals::operator""s;
  refused("", "unigram");  // no trainer_spec: the default model type
  refused("\x0A\xFF\xFF\xFF\xFF\x0F", "claims 4294967295 bytes where 0 are left");
  refused(
      "\x0A\x05\x0A\x7F"
      "ab",
      "claims 5 bytes where 4 are left");
  refused(
      "\x0A\x04\x0A\x7F"
      "ab",
      "claims 127 bytes where 2 are left");
  refused("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", "more than ten bytes");
  refused("\x0A\x80", "ends within a number");
  refused("\x0B", "wire type 3");
  refused("\x08\x01", "wire type 0, expected 2");
  refused("\x02\x00"s, "number 0");
  refused("\x0A\x02\x18\x09", "has the type 9");
  refused("\x12\x02\x18\x02", "no piece for the unknown");  // BPE without pieces
  refused("\x12\x02\x18\x01", "unigram");
  refused("\x12\x02\x18\x63", "of an unknown kind");
  refused(
      "\x0A\x05\x0A\x01"
      "a\x18\x02"
      "\x12\x03\x18\x02\x28"s,
      "");
  refused(
      "\x0A\x05\x0A\x01"
      "a\x18\x02\x0A\x05\x0A\x01"
      "b\x18\x02\x12\x02\x18\x02",
      "both stand for the unknown");
  refused(
      "\x0A\x05\x0A\x01"
      "a\x18\x02\x0A\x03\x0A\x01"
      "b\x0A\x03\x0A\x01"
      "b\x12\x02\x18\x02",
      "occurs twice");
  refused(
      "\x0A\x05\x0A\x01"
      "a\x18\x02\x12\x05\x18\x02\x98\x02\x01",
      "byte_fallback is on");
  refused(
      "\x0A\x05\x0A\x01"
      "a\x18\x02\x12\x02\x18\x02\x1A\x04\x12\x02\xFF\xFF",
      "table of replacements");
}

TEST(BadSentencePiece, EveryTruncationLoadsOrIsRefused) {
  const std::string whole = golden::ReadText(golden::DataDirectory() / "sp_rules" / "tokenizer.model");
  int refused = 0;
  for (size_t size = 0; size < whole.size(); size += 31)
    refused += LoadSentencePiece(std::string_view(whole).substr(0, size), SpecialTokens()).ok() ? 0 : 1;
  EXPECT_GT(refused, 200);
}

TEST(BadPair, VocabAndMerges) {
  const auto message = [](std::string_view vocab, std::string_view merges) {
    SpecialTokens special;
    special.tokenizer_class = "GPT2Tokenizer";
    const auto tokenizer = LoadVocabAndMerges(vocab, merges, special);
    return tokenizer.ok() ? "" : std::string(tokenizer.status().message());
  };
  EXPECT_EQ(message(R"({"a": 0, "b": 1, "ab": 2})", "#version: 0.2\na b\n"), "");
  EXPECT_NE(message("{", "").find("vocab.json: line 1, column 2: broken JSON"), std::string::npos);
  EXPECT_NE(message("[]", "").find("vocab.json"), std::string::npos);
  EXPECT_NE(message(R"({"a": 0})", "a b c\n").find("merges.txt: line 1"), std::string::npos);
  EXPECT_NE(message(R"({"a": 0})", "#version: 0.2\na\n").find("merges.txt: line 2"), std::string::npos);
  EXPECT_NE(message(R"({"a": 0})", "a \xFF\n").find("not valid UTF-8"), std::string::npos);
  EXPECT_NE(message(R"({"a": 0})", "a b\n").find("needs the token 'b'"), std::string::npos);
}

TEST(LoadPath, MissingAndUnknownFiles) {
  const std::filesystem::path directory = TestDirectory();
  const auto message = [](const std::filesystem::path& path) {
    const auto tokenizer = Tokenizer::Load(path);
    EXPECT_FALSE(tokenizer.ok());
    EXPECT_EQ(KindOf(tokenizer.status()), ErrorKind::kModel);
    return std::string(tokenizer.status().message());
  };
  EXPECT_NE(message(directory).find("holds no tokenizer; expected tokenizer.json"), std::string::npos);
  EXPECT_NE(message(directory / "absent.json").find("cannot be opened"), std::string::npos);
  EXPECT_NE(message(directory / "weights.bin").find("expected a .json or a .model file"), std::string::npos);
  Write(directory / "vocab.json", "{}");
  EXPECT_NE(message(directory).find("merges.txt: cannot be opened"), std::string::npos);
  Write(directory / "tokenizer.json", "{}");
  EXPECT_NE(message(directory).find("tokenizer.json: "), std::string::npos);
  Write(directory / "tokenizer_config.json", "{");
  EXPECT_NE(message(directory).find("tokenizer_config.json: line"), std::string::npos);
}

TEST(SpecialTokens, ComeFromTheFilesBesideTheTokenizer) {
  const std::filesystem::path directory = TestDirectory();
  std::filesystem::copy_file(golden::DataDirectory() / "sp_plain" / "tokenizer.model", directory / "tokenizer.model");
  const auto load = [&] { return Tokenizer::Load(directory).value(); };
  EXPECT_EQ(load()->bos_id(), 1);
  EXPECT_EQ(load()->eos_id(), 2);
  const std::vector<int32_t> plain = load()->Encode("ab", false).value();
  EXPECT_EQ(load()->Encode("ab").value().front(), 1);
  Write(directory / "config.json", R"({"bos_token_id": 7, "eos_token_id": [9, 8]})");
  EXPECT_EQ(load()->bos_id(), 1);  // the model's own pieces are better than numbers
  Write(directory / "tokenizer_config.json",
        R"({"bos_token": null, "eos_token": {"content": "<extra>"}, "add_bos_token": false, "add_eos_token": true})");
  EXPECT_EQ(load()->eos_id(), load()->IdOf("<extra>"));
  EXPECT_EQ(load()->Encode("ab").value().back(), *load()->eos_id());
  EXPECT_EQ(load()->Encode("ab").value().size(), plain.size() + 1);

  Json json = Small();
  Write(directory / "tokenizer.json", json.dump());
  EXPECT_EQ(load()->bos_id(), 7);  // from config.json: nothing else says it
  EXPECT_EQ(load()->eos_id(), 3);  // "<extra>", added behind the vocabulary
  Write(directory / "tokenizer_config.json", R"({"bos_token": "b"})");
  Write(directory / "special_tokens_map.json", R"({"bos_token": "a", "eos_token": {"content": "ab"}})");
  EXPECT_EQ(load()->bos_id(), 0);  // without added_tokens_decoder the map wins, as in transformers
  EXPECT_EQ(load()->eos_id(), 2);
}

}  // namespace
}  // namespace fedalt
