#include "known_examples.h"

#include <map>
#include <sstream>
#include <string>

#include "base/check.h"
#include "tokenizer_files.h"

namespace fedalt::demo {
namespace {

// The words' ids in the order in which the tokenizer's file lists them.
std::map<std::string, int64_t> WordIds() {
  std::map<std::string, int64_t> ids;
  for (const std::string& word : Vocabulary()) ids.emplace(word, kEosId + 1 + static_cast<int64_t>(ids.size()));
  return ids;
}

void Append(const std::string& text, const std::map<std::string, int64_t>& ids, std::vector<int64_t>& tokens) {
  std::istringstream words(text);
  for (std::string word; words >> word;) tokens.push_back(ids.at(word));
}

at::Tensor Indices(const std::vector<int64_t>& values) {
  return at::tensor(values, at::kLong);
}

}  // namespace

std::vector<KnownExample> KnownExamples() {
  const std::map<std::string, int64_t> ids = WordIds();
  FEDALT_CHECK(static_cast<int>(ids.size()) + kEosId + 1 == VocabularySize(), "every word has one id");
  std::vector<KnownExample> examples;
  for (int c = 0; c < kKnownConventions; ++c)
    for (const Fact& fact : KnownFacts())
      for (int t = 0; t < kTemplates; ++t) {
        KnownExample example;
        example.convention = static_cast<Convention>(c);
        example.tokens.push_back(kBosId);
        Append(Question(fact, t), ids, example.tokens);
        example.response_begin = static_cast<int64_t>(example.tokens.size());
        Append(Answer(fact, example.convention), ids, example.tokens);
        example.tokens.push_back(kEosId);
        examples.push_back(std::move(example));
      }
  return examples;
}

KnownBatch Pack(std::span<const KnownExample* const> examples) {
  KnownBatch batch;
  std::vector<int64_t> tokens, rows, targets;
  batch.tokens.offsets.push_back(0);
  batch.first_answer.push_back(0);
  for (const KnownExample* example : examples) {
    const auto begin = static_cast<int64_t>(tokens.size()), length = static_cast<int64_t>(example->tokens.size());
    tokens.insert(tokens.end(), example->tokens.begin(), example->tokens.end() - 1);  // EOS is predicted, never read
    for (int64_t i = example->response_begin; i < length; ++i) {
      rows.push_back(begin + i - 1);
      targets.push_back(example->tokens[static_cast<size_t>(i)]);
    }
    batch.tokens.offsets.push_back(static_cast<int64_t>(tokens.size()));
    batch.first_answer.push_back(static_cast<int64_t>(rows.size()));
  }
  batch.tokens.token_ids_t = Indices(tokens);
  batch.response_rows_n = Indices(rows);
  batch.targets_n = Indices(targets);
  return batch;
}

}  // namespace fedalt::demo
