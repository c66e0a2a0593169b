// demo_pretrain: teaches a small Llama everything that the base of the demo knows, and writes it as a Hugging Face directory.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "adamw.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"
#include "base_model.h"
#include "data/dataset.h"
#include "data/packed_batch.h"
#include "model/transformer.h"
#include "text/tokenizer.h"
#include "tokenizer_files.h"
#include "world.h"

namespace fedalt::demo {
namespace {

using Json = nlohmann::ordered_json;

struct PretrainOptions {
  std::filesystem::path out;
  uint64_t seed = kBaseSeed;
  int64_t batch_size = 256;
  int threads = 1;  // the weights' last bits depend on it
  AdamWOptions adamw;
};

/// Everything the base is taught: each known fact, in each known convention and template. The tag is the convention.
std::vector<Example> KnownExamples() {
  std::vector<Example> examples;
  for (int c = 0; c < kKnownConventions; ++c)
    for (const Fact& fact : KnownFacts())
      for (int t = 0; t < kTemplates; ++t) {
        const auto convention = static_cast<Convention>(c);
        const auto id = static_cast<int64_t>(examples.size());
        examples.push_back({id, Question(fact, t), "", Answer(fact, convention), std::string(NameOf(convention))});
      }
  return examples;
}

at::Tensor Indices(const std::vector<int64_t>& values) {
  return at::tensor(values, at::kLong);
}

/// Logits of the rows that an answer follows: (N, vocabulary).
at::Tensor AnswerLogits(const Transformer& model, const PackedBatch& batch) {
  const at::Tensor hidden_td = model.Hidden({Indices(batch.tokens), batch.offsets}, ForwardContext());
  return model.Logits(hidden_td.index_select(0, Indices(batch.response_rows)));
}

/// Epoch after epoch, each a fresh permutation; batches run on across the end of an epoch.
class Batches {
 public:
  Batches(const std::vector<TokenizedExample>& examples, uint64_t seed) : examples_(examples), seed_(seed) {}

  PackedBatch Next(int64_t size) {
    std::vector<const TokenizedExample*> selected;
    while (static_cast<int64_t>(selected.size()) < size) {
      if (next_ == order_.size()) {
        order_ = RandomStream(seed_, RandomPurpose::kShuffle, {epoch_++}).Permutation(static_cast<int64_t>(examples_.size()));
        next_ = 0;
      }
      selected.push_back(&examples_[static_cast<size_t>(order_[next_++])]);
    }
    return PackExamples(selected);
  }

 private:
  const std::vector<TokenizedExample>& examples_;
  uint64_t seed_, epoch_ = 0;
  std::vector<int64_t> order_;
  size_t next_ = 0;
};

/// Returns the mean loss of the last 50 steps.
double Train(const Transformer& model, const std::vector<TokenizedExample>& examples, const PretrainOptions& options) {
  std::vector<at::Tensor> parameters;
  for (const auto& [name, parameter] : model.parameters()) parameters.push_back(parameter);
  AdamW optimizer(parameters, options.adamw);
  Batches batches(examples, options.seed);
  double recent = 0.0;
  int64_t recent_steps = 0;
  for (int64_t step = 1; step <= options.adamw.steps; ++step) {
    const PackedBatch batch = batches.Next(options.batch_size);
    const at::Tensor loss = at::cross_entropy_loss(AnswerLogits(model, batch), Indices(batch.targets));
    loss.backward();
    optimizer.Step();
    if (step % 50 == 0)
      std::fprintf(stderr, "%s\n",
                   absl::StrFormat("step %d of %d, loss %.4f", step, options.adamw.steps, loss.item<double>()).c_str());
    if (step + 50 > options.adamw.steps) {
      recent += loss.item<double>();
      ++recent_steps;
    }
  }
  return recent / static_cast<double>(recent_steps);
}

/// Share of `examples`, all of one convention, that the model answers right when it has to use that convention: its first word is
/// the likeliest of those that open an answer there, and each later word, given the ones before, is the likeliest of all.
double Accuracy(const Transformer& model, const std::vector<const TokenizedExample*>& examples) {
  at::Tensor closed = at::ones({model.config().vocab_size}, at::kBool);
  for (const TokenizedExample* example : examples) closed[example->tokens[static_cast<size_t>(example->response_begin)]] = false;
  constexpr size_t kAtOnce = 512;
  int64_t right = 0;
  for (size_t begin = 0; begin < examples.size(); begin += kAtOnce) {
    const PackedBatch batch = PackExamples(std::span(examples).subspan(begin, std::min(kAtOnce, examples.size() - begin)));
    at::Tensor logits = AnswerLogits(model, batch);
    std::vector<int64_t> first_answer = {0};  // per example: its first row of `logits`
    for (const TokenizedExample* example : std::span(examples).subspan(begin, batch.example_ids.size()))
      first_answer.push_back(first_answer.back() + static_cast<int64_t>(example->tokens.size()) - example->response_begin);
    for (size_t i = 0; i < batch.example_ids.size(); ++i) logits[first_answer[i]].masked_fill_(closed, -1e9);
    const at::Tensor hit = logits.argmax(1).eq(Indices(batch.targets)).to(at::kLong);
    for (size_t i = 0; i < batch.example_ids.size(); ++i)
      right += hit.slice(0, first_answer[i], first_answer[i + 1]).min().item<int64_t>();
  }
  return static_cast<double>(right) / static_cast<double>(examples.size());
}

Status WriteModel(const Transformer& model, const PretrainOptions& options) {
  NamedTensors weights;
  for (const auto& [name, parameter] : model.parameters()) weights.emplace_back(name, parameter.detach());
  return WriteSafetensors(options.out / "model.safetensors", weights);
}

Status WriteReport(const PretrainOptions& options, double loss, const Json& accuracy) {
  ASSIGN_OR_RETURN(const std::string hash, Sha256OfFile(options.out / "model.safetensors"));
  const Json report = {{"seed", options.seed},
                       {"steps", options.adamw.steps},
                       {"batch_size", options.batch_size},
                       {"lr", options.adamw.lr},
                       {"threads", options.threads},
                       {"loss", std::round(loss * 1e4) / 1e4},
                       {"accuracy_on_known_facts", accuracy},
                       {"sha256", hash}};
  RETURN_IF_ERROR(WriteFileAtomic(options.out / "pretraining.json", report.dump(1) + "\n"));
  std::printf("%s\n", report.dump(1).c_str());
  return absl::OkStatus();
}

Status Pretrain(const PretrainOptions& options) {
  ASSIGN_OR_RETURN(const ModelConfig config, WriteModelConfig(options.out));
  RETURN_IF_ERROR(WriteTokenizerFiles(options.out));
  ASSIGN_OR_RETURN(const std::shared_ptr<const Tokenizer> tokenizer, Tokenizer::Load(options.out));
  ASSIGN_OR_RETURN(const PromptTemplate prompt_template, PromptTemplate::Named("plain"));
  const std::vector<Example> known = KnownExamples();
  ASSIGN_OR_RETURN(const std::vector<TokenizedExample> examples,
                   TokenizeForTraining(known, *tokenizer, prompt_template, TokenizeOptions(), nullptr));
  ASSIGN_OR_RETURN(const std::shared_ptr<const Transformer> model,
                   Transformer::FromTensors(config, InitialWeights(config, options.seed)));
  const double loss = Train(*model, examples, options);

  const at::NoGradGuard no_gradients;
  Json accuracy = Json::object();
  for (int c = 0; c < kKnownConventions; ++c) {
    std::vector<const TokenizedExample*> part;
    for (size_t i = 0; i < known.size(); ++i)
      if (known[i].tag == NameOf(static_cast<Convention>(c))) part.push_back(&examples[i]);
    accuracy[std::string(NameOf(static_cast<Convention>(c)))] = std::round(Accuracy(*model, part) * 1e4) / 1e4;
  }
  RETURN_IF_ERROR(WriteModel(*model, options));
  return WriteReport(options, loss, accuracy);
}

int Main(int argc, char** argv) {
  CLI::App app{"Pretrains the demo's base model (minutes on two cores).\nExample: demo_pretrain --out build/demo/base"};
  PretrainOptions options;
  std::string out;
  app.add_option("--out", out, "model directory to write")->required();
  app.add_option("--seed", options.seed, "initial weights and the order of the examples")->capture_default_str();
  app.add_option("--steps", options.adamw.steps, "optimizer steps")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--batch-size", options.batch_size, "examples per step")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--lr", options.adamw.lr, "learning rate after the warm-up")->capture_default_str();
  app.add_option("--threads", options.threads, "the weights' last bits depend on it")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  options.out = out;
  at::set_num_threads(options.threads);
  const Status status = Pretrain(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "demo_pretrain: %s\n", std::string(status.message()).c_str());
  return static_cast<int>(KindOf(status));
}

}  // namespace
}  // namespace fedalt::demo

int main(int argc, char** argv) {
  return fedalt::demo::Main(argc, argv);
}
