// The data of sites that do not stay in memory are the same at every reading, or refused.
#include "run/site_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace fedalt {
namespace {

namespace fs = std::filesystem;

void ExpectEqual(const std::vector<TokenizedExample>& a, const std::vector<TokenizedExample>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].id, b[i].id);
    EXPECT_EQ(a[i].tokens, b[i].tokens);
    EXPECT_EQ(a[i].response_begin, b[i].response_begin);
  }
}

class SiteFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(::testing::TempDir()) / absl::StrCat("fedalt_site_files_", ::getpid());
    fs::create_directories(root_);
    for (int k = 0; k < 3; ++k) {
      std::ofstream train(root_ / absl::StrCat("train_", k, ".jsonl")), test(root_ / absl::StrCat("test_", k, ".jsonl"));
      for (int i = 0; i < 10; ++i)
        (i < 8 ? train : test) << "{\"instruction\": \"what is the sound of a cat " << i << k << "\", \"output\": \"meow " << i
                               << "\"}\n";
    }
    for (int k = 0; k < 3; ++k)
      config_.sites.push_back(
          {absl::StrCat("site-", k), root_ / absl::StrCat("train_", k, ".jsonl"), root_ / absl::StrCat("test_", k, ".jsonl"), {}});
    config_.validation = 0.25;
    auto tokenizer = Tokenizer::Load(FEDALT_TEST_DATA "/cli");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *tokenizer;
  }
  void TearDown() override { fs::remove_all(root_); }

  StatusOr<std::shared_ptr<const SiteFilesSource>> Open(int64_t resident_bytes) {
    return SiteFilesSource::Open(config_, tokenizer_, notes_, resident_bytes);
  }

  fs::path root_;
  RunConfig config_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<std::string> notes_;
};

TEST_F(SiteFilesTest, WhatIsReadAgainIsTheSame) {
  const auto resident = Open(SiteFilesSource::kResidentBytes), streamed = Open(0);
  ASSERT_TRUE(resident.ok() && streamed.ok()) << resident.status() << streamed.status();
  for (size_t k = 0; k < 3; ++k) {
    EXPECT_EQ((*streamed)->sites()[k].name, config_.sites[k].name);
    EXPECT_EQ((*streamed)->sites()[k].train_examples, 6);
    const auto kept = (*resident)->Load(k), read = (*streamed)->Load(k);
    ASSERT_TRUE(kept.ok() && read.ok()) << read.status();
    EXPECT_EQ(read->use_count(), 1) << "nobody else holds it";
    EXPECT_EQ(kept->get(), (*resident)->Load(k)->get());
    ExpectEqual((*kept)->train, (*read)->train);
    ExpectEqual((*kept)->validation, (*read)->validation);
    ExpectEqual((*kept)->test.tokenized, (*read)->test.tokenized);
    EXPECT_EQ((*kept)->test.prompts, (*read)->test.prompts);
  }
}

TEST_F(SiteFilesTest, FilesThatHaveChangedAreRefused) {
  const auto streamed = Open(0);
  ASSERT_TRUE(streamed.ok());
  std::ofstream(config_.sites[1].test, std::ios::app) << "{\"instruction\": \"x\", \"output\": \"y\"}\n";
  EXPECT_TRUE((*streamed)->Load(0).ok());
  const auto changed = (*streamed)->Load(1);
  ASSERT_FALSE(changed.ok());
  EXPECT_EQ(KindOf(changed.status()), ErrorKind::kData);
  EXPECT_NE(changed.status().message().find("site-1"), absl::string_view::npos) << changed.status();
}

}  // namespace
}  // namespace fedalt
