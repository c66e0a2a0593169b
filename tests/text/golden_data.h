// Reading of tests/data/text and of what stands beside it; the counterpart of tests/golden/tokenizers.py.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/hash.h"
#include "text/json_reader.h"
#include "text/loaders.h"
#include "text/tokenizer.h"

namespace fedalt::golden {

inline std::filesystem::path DataDirectory() {
  return std::filesystem::path(FEDALT_TEST_DATA) / "text";
}

/// The folder of the shared assets, or empty.
inline std::filesystem::path AssetDirectory() {
  const char* path = std::getenv("FEDALT_TEST_ASSETS");
  return path ? path : "";
}

inline std::string ReadText(const std::filesystem::path& path) {
  StatusOr<std::string> bytes = ReadFile(path, ErrorKind::kData);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.ok() ? *bytes : "";
}

inline Json ReadJson(const std::filesystem::path& path) {
  return Json::parse(ReadText(path));
}

inline const std::vector<std::string>& Strings() {
  static const std::vector<std::string> strings = ReadJson(DataDirectory() / "strings.json").get<std::vector<std::string>>();
  return strings;
}

/// Instruction, newline, output of the first 200 examples of each site.
inline const std::vector<std::string>& FlanStrings() {
  static const std::vector<std::string> strings = [] {
    std::vector<std::string> out;
    for (int site = 0; site < 8; ++site) {
      const Json examples =
          ReadJson(AssetDirectory() / "data" / "flan8" / "train" / ("local_training_" + std::to_string(site) + ".json"));
      for (size_t i = 0; i < 200; ++i)
        out.push_back(examples[i]["instruction"].get<std::string>() + "\n" + examples[i]["output"].get<std::string>());
    }
    return out;
  }();
  return strings;
}

class SplitMix {
 public:
  explicit SplitMix(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    state_ += 0x9E3779B97F4A7C15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_;
};

inline std::vector<std::vector<int32_t>> RandomIds(int32_t vocab_size) {
  SplitMix draw(static_cast<uint64_t>(vocab_size));
  std::vector<std::vector<int32_t>> lists(400);
  for (std::vector<int32_t>& ids : lists) {
    const uint64_t kind = draw.Next() % 3, length = 1 + draw.Next() % 30;
    for (uint64_t i = 0; i < length; ++i) {
      const bool low = kind == 1 || (kind == 2 && draw.Next() % 2 == 0);
      ids.push_back(static_cast<int32_t>(draw.Next() % static_cast<uint64_t>(low ? std::min(vocab_size, 300) : vocab_size)));
    }
  }
  return lists;
}

inline std::string HashOfText(std::string_view bytes) {
  return HexOf(Sha256(bytes)).substr(0, 6);
}

inline std::string HashOfIds(const std::vector<int32_t>& ids) {
  std::string bytes;
  for (int32_t id : ids)
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<char>(static_cast<uint32_t>(id) >> shift));
  return HashOfText(bytes);
}

struct Hashes {
  std::string ids, text;
};

/// What the golden files hold about one string.
inline Hashes HashesOf(const Tokenizer& tokenizer, const std::string& text) {
  StatusOr<std::vector<int32_t>> with = tokenizer.Encode(text, true), without = tokenizer.Encode(text, false);
  if (!with.ok() || !without.ok()) return {std::string(with.status().message()), ""};
  const std::string decoded = tokenizer.Decode(*with, false) + '\0' + tokenizer.Decode(*with, true);
  std::vector<int32_t> both = *with;
  both.push_back(-1);
  both.insert(both.end(), without->begin(), without->end());
  return {HashOfIds(both), HashOfText(decoded)};
}

/// Compares with hashes of `width` digits each, one behind the other. Returns how many strings differ; the first few are printed.
inline int CountDifferences(const Tokenizer& tokenizer, const std::vector<std::string>& strings, const std::string& ids,
                            const std::string& text, size_t width) {
  EXPECT_EQ(ids.size(), strings.size() * width);
  EXPECT_EQ(text.size(), strings.size() * width);
  int differences = 0;
  for (size_t i = 0; i < strings.size() && ids.size() == strings.size() * width; ++i) {
    const Hashes hashes = HashesOf(tokenizer, strings[i]);
    const std::string expected_ids = ids.substr(i * width, width), expected_text = text.substr(i * width, width);
    // A line: the original gives up.
    const bool ids_differ = expected_ids[0] != '-' && hashes.ids.substr(0, width) != expected_ids;
    const bool text_differs = expected_text[0] != '-' && hashes.text.substr(0, width) != expected_text;
    if (!ids_differ && !text_differs) continue;
    if (++differences > 5) continue;
    const StatusOr<std::vector<int32_t>> found = tokenizer.Encode(strings[i]);
    ADD_FAILURE() << (ids_differ ? "ids" : "text") << " of string " << i << " differ: " << Json(strings[i]).dump() << "\n  found "
                  << (found.ok() ? Json(*found).dump() : std::string(found.status().message()));
  }
  return differences;
}

}  // namespace fedalt::golden
