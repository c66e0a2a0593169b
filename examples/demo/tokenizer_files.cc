#include "tokenizer_files.h"

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "world.h"

namespace fedalt::demo {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSpecialTokens[] = {"<unk>", "<s>", "</s>"};  // index: their ids

Json AddedTokens() {
  Json tokens = Json::array();
  for (int id : {kUnknownId, kBosId, kEosId})
    tokens.push_back({{"id", id},
                      {"content", kSpecialTokens[id]},
                      {"single_word", false},
                      {"lstrip", false},
                      {"rstrip", false},
                      {"normalized", false},
                      {"special", true}});
  return tokens;
}

// "<s> A" and, for pairs, "<s> A B": what a Llama tokenizer does.
Json PostProcessor() {
  const Json bos = {{"SpecialToken", {{"id", kSpecialTokens[kBosId]}, {"type_id", 0}}}};
  const Json first = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json second = {{"Sequence", {{"id", "B"}, {"type_id", 1}}}};
  Json special = Json::object();
  special[kSpecialTokens[kBosId]] = {
      {"id", kSpecialTokens[kBosId]}, {"ids", Json::array({kBosId})}, {"tokens", Json::array({kSpecialTokens[kBosId]})}};
  return {{"type", "TemplateProcessing"},
          {"single", Json::array({bos, first})},
          {"pair", Json::array({bos, first, second})},
          {"special_tokens", special}};
}

Json TokenizerJson() {
  Json vocabulary = Json::object();
  int id = 0;
  for (const char* token : kSpecialTokens) vocabulary[token] = id++;
  for (const std::string& word : Vocabulary()) vocabulary[word] = id++;
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", AddedTokens()},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "WhitespaceSplit"}}},
          {"post_processor", PostProcessor()},
          {"decoder", nullptr},
          {"model", {{"type", "WordLevel"}, {"vocab", vocabulary}, {"unk_token", kSpecialTokens[kUnknownId]}}}};
}

Json SpecialTokensMap() {
  return {{"bos_token", kSpecialTokens[kBosId]}, {"eos_token", kSpecialTokens[kEosId]}, {"unk_token", kSpecialTokens[kUnknownId]}};
}

}  // namespace

int VocabularySize() {
  return static_cast<int>(std::size(kSpecialTokens) + Vocabulary().size());
}

Status WriteTokenizerFiles(const std::filesystem::path& directory) {
  RETURN_IF_ERROR(MakeDirectories(directory));
  RETURN_IF_ERROR(WriteFileAtomic(directory / "tokenizer.json", TokenizerJson().dump(1) + "\n"));
  RETURN_IF_ERROR(WriteFileAtomic(directory / "special_tokens_map.json", SpecialTokensMap().dump(1) + "\n"));
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}, {"model_max_length", 64}};
  config.update(SpecialTokensMap());
  return WriteFileAtomic(directory / "tokenizer_config.json", config.dump(1) + "\n");
}

}  // namespace fedalt::demo
