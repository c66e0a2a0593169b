// Pieces printed on the way, put together, are what decoding everything at the end gives; nothing printed is ever taken back.
#include "text/streaming_decoder.h"

#include <thread>

#include "text/golden_data.h"
#include "text/utf8.h"

namespace fedalt {
namespace {

class Streaming : public testing::TestWithParam<const char*> {
 protected:
  std::shared_ptr<const Tokenizer> tokenizer_ = Tokenizer::Load(golden::DataDirectory() / GetParam()).value();

  void Check(const std::vector<int32_t>& ids) {
    StreamingDecoder decoder(*tokenizer_);
    std::string text;
    for (size_t i = 0; i < ids.size(); ++i) {
      const std::string piece = decoder.Push(ids[i]);
      EXPECT_FALSE(FirstInvalidUtf8(piece)) << "half a character was printed";
      text += piece;
    }
    text += decoder.Finish();
    EXPECT_EQ(text, tokenizer_->Decode(ids, true)) << Json(ids).dump();
  }
};

TEST_P(Streaming, PiecesMakeTheWholeText) {
  for (size_t i = 0; i < 180; ++i) {
    const auto ids = tokenizer_->Encode(golden::Strings()[i]);
    ASSERT_TRUE(ids.ok());
    Check(*ids);
  }
}

TEST_P(Streaming, AnyIds) {
  for (const std::vector<int32_t>& ids : golden::RandomIds(tokenizer_->vocab_size())) Check(ids);
}

TEST_P(Streaming, OrdinaryTextIsPrintedAtOnce) {
  const auto ids = tokenizer_->Encode("the father and the son", false).value();
  StreamingDecoder decoder(*tokenizer_);
  size_t printed = 0;
  for (int32_t id : ids) printed += decoder.Push(id).size();
  EXPECT_EQ(printed, tokenizer_->Decode(ids, true).size());
  EXPECT_EQ(decoder.Finish(), "");
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, Streaming,
                         testing::Values("llama3", "bloom", "metaspace", "gemma", "sp_rules", "sp_plain", "word_level"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Threads, ManyMayEncodeWithOneTokenizer) {
  const auto tokenizer = Tokenizer::Load(golden::DataDirectory() / "qwen2").value();
  const std::string& text = golden::Strings().back();
  const std::vector<int32_t> expected = tokenizer->Encode(text).value();
  std::vector<std::vector<int32_t>> found(4);
  std::vector<std::thread> threads;
  for (std::vector<int32_t>& ids : found) threads.emplace_back([&] { ids = tokenizer->Encode(text).value(); });
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<int32_t>& ids : found) EXPECT_EQ(ids, expected);
}

}  // namespace
}  // namespace fedalt
