// demo_pretrain: teaches a small Llama everything that the base of the demo knows, and writes it as a Hugging Face directory.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "adamw.h"
#include "base/file.h"
#include "base/hash.h"
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
  int threads = 2;
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

/// Logits of the rows that a response follows: (N, vocabulary).
at::Tensor ResponseLogits(const Transformer& model, const PackedBatch& batch) {
  const at::Tensor hidden_td = model.Hidden({Indices(batch.tokens), batch.offsets}, ForwardContext());
  return model.Logits(hidden_td.index_select(0, Indices(batch.response_rows)));
}

std::vector<const TokenizedExample*> Select(const std::vector<TokenizedExample>& examples, const std::vector<int64_t>& indices) {
  std::vector<const TokenizedExample*> selected;
  for (int64_t i : indices) selected.push_back(&examples[static_cast<size_t>(i)]);
  return selected;
}

/// Returns the mean loss of the last 50 steps.
double Train(const Transformer& model, const std::vector<TokenizedExample>& examples, const PretrainOptions& options) {
  std::vector<at::Tensor> parameters;
  for (const auto& [name, parameter] : model.parameters()) parameters.push_back(parameter);
  AdamW optimizer(parameters, options.adamw);
  BatchPlan plan;
  plan.seed = options.seed;
  plan.steps = options.adamw.steps;
  plan.batch_size = options.batch_size;
  double recent = 0.0;
  int64_t step = 0, recent_steps = 0;
  for (const std::vector<int64_t>& indices : PlanBatches(static_cast<int64_t>(examples.size()), plan)) {
    const PackedBatch batch = PackExamples(Select(examples, indices));
    const at::Tensor loss = at::cross_entropy_loss(ResponseLogits(model, batch), Indices(batch.targets));
    loss.backward();
    optimizer.Step();
    if (++step % 100 == 0)
      std::fprintf(stderr, "step %lld of %lld, loss %.4f\n", static_cast<long long>(step),
                   static_cast<long long>(options.adamw.steps), loss.item<double>());
    if (step + 50 > options.adamw.steps) recent += loss.item<double>(), ++recent_steps;
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
    const std::span<const TokenizedExample* const> part(&examples[begin], std::min(kAtOnce, examples.size() - begin));
    const PackedBatch batch = PackExamples(part);
    at::Tensor logits = ResponseLogits(model, batch).clone();
    std::vector<int64_t> first_rows, rows_per_example;
    for (const TokenizedExample* example : part) {
      first_rows.push_back(first_rows.empty() ? 0 : first_rows.back() + rows_per_example.back());
      rows_per_example.push_back(static_cast<int64_t>(example->tokens.size()) - example->response_begin);
    }
    const at::Tensor first = Indices(first_rows);
    logits.index_copy_(0, first, logits.index_select(0, first).masked_fill(closed, -1e9));
    const at::Tensor hit = logits.argmax(1).eq(Indices(batch.targets)).to(at::kLong);
    for (size_t i = 0; i < part.size(); ++i) right += hit.narrow(0, first_rows[i], rows_per_example[i]).min().item<int64_t>();
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
  std::map<std::string, std::vector<const TokenizedExample*>> by_convention;
  for (size_t i = 0; i < known.size(); ++i) by_convention[known[i].tag].push_back(&examples[i]);
  Json accuracy = Json::object();
  for (const auto& [convention, part] : by_convention) accuracy[convention] = std::round(Accuracy(*model, part) * 1e4) / 1e4;
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
