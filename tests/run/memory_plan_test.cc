// The plan of memory: its terms against numbers counted by hand, and what it refuses.
#include "run/memory_plan.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "run/run.h"

namespace fedalt {
namespace {

/// d 8, two heads of 4 that share one key-value head, ffn 12, two layers, 100 words.
ModelConfig SmallModel() {
  ModelConfig model;
  model.family = ModelFamily::kLlama;
  model.vocab_size = 100;
  model.hidden_size = 8;
  model.intermediate_size = 12;
  model.num_layers = 2;
  model.num_heads = 2;
  model.num_kv_heads = 1;
  model.head_dim = 4;
  return model;
}

RunConfig SmallRun() {
  RunConfig config;
  config.sites.resize(3);
  config.max_length = 16;
  config.federation.adapter.r = 2;
  config.federation.adapter.lora_dropout = 0.0;
  config.federation.train.batch_size = 2;
  config.federation.eval.options.generate.max_new_tokens = 4;
  return config;
}

TEST(MemoryPlan, CountsWhatALayerSaves) {
  AdapterConfig adapter = SmallRun().federation.adapter;
  // Norms 8 + 8, q 8, k 4, v 4, gate and up 12 + 12, the input that q and v share 8: 64 numbers; two floats of the norms; q and v
  // each 2 r + 1 floats behind A.
  EXPECT_EQ(SavedPerToken(SmallModel(), adapter, 0, at::kBFloat16, false), 64 * 2 + 2 * 4 + 2 * 5 * 4);
  EXPECT_EQ(SavedPerToken(SmallModel(), adapter, 0, at::kFloat, false), 64 * 4 + 2 * 4 + 2 * 5 * 4);
  EXPECT_EQ(SavedPerToken(SmallModel(), adapter, 0, at::kFloat, true), 56 * 4 + 2 * 4 + 2 * 5 * 4) << "its own input is not kept";
  adapter.lora_dropout = 0.1;
  EXPECT_EQ(SavedPerToken(SmallModel(), adapter, 0, at::kFloat, false), 64 * 4 + 2 * 4 + 2 * (5 * 4 + 1)) << "8 bits each";
  adapter.lora_dropout = 0.0;
  adapter.target_modules = {"all-linear"};  // and the inputs of o 8, of gate and up 8, of down 12
  EXPECT_EQ(SavedPerToken(SmallModel(), adapter, 0, at::kBFloat16, false), 92 * 2 + 2 * 4 + 7 * 5 * 4);
  adapter.target_modules = {"layers.1.self_attn.q_proj"};
  EXPECT_EQ(SavedPerToken(SmallModel(), adapter, 0, at::kBFloat16, false), 56 * 2 + 2 * 4);
  EXPECT_EQ(SavedPerToken(SmallModel(), adapter, 1, at::kBFloat16, false), 64 * 2 + 2 * 4 + 5 * 4);
}

TEST(MemoryPlan, WeightsOfAStackAreMappedOnlyIfTheyLieTogether) {
  const auto path = std::filesystem::temp_directory_path() / ("fedalt_weights_" + std::to_string(::getpid()) + ".safetensors");
  const auto weights = [&](const std::vector<std::string>& order) {
    NamedTensors tensors;
    for (const std::string& name : order) tensors.emplace_back("model.layers.0." + name + ".weight", at::ones({2, 5}));
    EXPECT_TRUE(WriteSafetensors(path, tensors).ok());
    const auto files = TensorFiles::OpenFile(path);
    return WeightsOf(**files, SmallModel(), at::kFloat, 100);
  };
  const WeightBytes together =
      weights({"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"});
  EXPECT_EQ(together.mapped, 5 * 40);
  EXPECT_EQ(together.converted, 0);
  // In the order of their names, as Hugging Face writes them: o stands between q and v.
  const WeightBytes sorted =
      weights({"mlp.gate_proj", "mlp.up_proj", "self_attn.k_proj", "self_attn.o_proj", "self_attn.q_proj", "self_attn.v_proj"});
  EXPECT_EQ(sorted.mapped, 3 * 40);
  EXPECT_EQ(sorted.converted, 3 * 40);
  EXPECT_EQ(sorted.stored, 3 * 40);
  std::filesystem::remove(path);
}

TEST(MemoryPlan, CountsTheParametersOfASite) {
  AdapterConfig adapter = SmallRun().federation.adapter;
  const AdapterSize size = AdapterSizeOf(SmallModel(), adapter, true);
  EXPECT_EQ(size.pair, 2 * 2 * ((8 + 8) + (8 + 4)));  // layers, r, q and v
  EXPECT_EQ(size.mixer, 2 * 2 * (8 + 8));
  EXPECT_EQ(AdapterSizeOf(SmallModel(), adapter, false).mixer, 0);
  adapter.mixer = MixerKind::kLayer;
  EXPECT_EQ(AdapterSizeOf(SmallModel(), adapter, true).mixer, 2 * 2 * 2);
}

/// What the plan counts for each site at work of SmallRun: both pairs, the mixer, what was sent.
constexpr int64_t kSite = 4 * (2 * 112 + 64 + 112);

int64_t Holes(int64_t tokens, int64_t bytes) {
  return kHoles * tokens * 12 * bytes;
}

TEST(MemoryPlan, TrainingIsTheSavedTheGreatestPassingAndTheGradients) {
  MemoryInputs inputs;
  inputs.model = SmallModel();
  inputs.dtype = at::kBFloat16;
  inputs.weights.mapped = 1000;
  inputs.program = 10'000;
  inputs.work.train_tokens = 10;
  inputs.work.train_responses = 6;
  const MemoryPlan plan = PlanMemory(SmallRun(), inputs);
  const int64_t first = 56 * 2 + 8 + 40, second = 64 * 2 + 8 + 40, factors = 2 * 4 * 4 * ((8 + 8) + (8 + 4));
  const int64_t saved = 10 * (first + second) + factors;
  const int64_t hidden = 2 * 8 * (10 + 2 * 6);
  const int64_t logits = 6 * 100 * 2;  // more than the 10 * 2 * (8 + 3 * 12) of the activation
  EXPECT_EQ(plan.training, saved + hidden + logits + Holes(10, 2) + 3 * 4 * (112 + 64) + 4 * 112);
  EXPECT_EQ(plan.adapters, kSite) << "of one site at work, however many there are";
  EXPECT_STREQ(plan.greatest_phase(), "training");
  EXPECT_EQ(plan.total(), 10'000 + 1000 + kSite + plan.training);
}

TEST(MemoryPlan, EvaluationIsALayerAndTheCache) {
  MemoryInputs inputs;
  inputs.model = SmallModel();
  inputs.work = {.loss_tokens = 5, .loss_responses = 1, .prompts = 2, .prompt_tokens = 20, .cached_tokens = 20 + 2 * 4};
  const int64_t layer = 4 * (2 * 8 + 8 + 3 * 12), of_a_token = 2 * 2 * 4 * 4;
  RunConfig config = SmallRun();
  EXPECT_EQ(PlanMemory(config, inputs).evaluation, 28 * of_a_token + 20 * layer + Holes(20, 4));
  config.federation.eval.options.generate.beams = 3;
  const int64_t page = 4096 / (4 * 4);  // rows of one head in it
  EXPECT_EQ(PlanMemory(config, inputs).evaluation, (28 + 6 * page) * of_a_token + 6 * 100 * (4 + 3 * 4));
  inputs.work.loss_tokens = 5000;
  EXPECT_EQ(PlanMemory(config, inputs).evaluation, 5000 * layer + Holes(5000, 4));
}

TEST(MemoryPlan, AMethodThatSendsNothingHasNothingToExchange) {
  RunConfig config = SmallRun();
  MemoryInputs inputs;
  inputs.model = SmallModel();
  EXPECT_EQ(PlanMemory(config, inputs).exchange, (8 + 5 * 4) * 112 - kSite);
  config.federation.method.name = "local";
  EXPECT_EQ(PlanMemory(config, inputs).exchange, 0);
  EXPECT_EQ(PlanMemory(config, inputs).adapters, 4 * 2 * 112);
  config.federation.method.name = "base";
  EXPECT_EQ(PlanMemory(config, inputs).training, 0);
}

TEST(MemoryPlan, ThePeakIsTheGreatestPhase) {
  MemoryInputs inputs;
  inputs.model = SmallModel();
  inputs.weights = {.mapped = 0, .converted = 4000, .stored = 2'000'000};
  inputs.work.train_tokens = inputs.work.train_responses = 4;
  const MemoryPlan plan = PlanMemory(SmallRun(), inputs);
  EXPECT_STREQ(plan.greatest_phase(), "loading");
  EXPECT_EQ(plan.total(), 4000 + 2'000'000) << "both copies of the weights, and no site yet";
}

TEST(MemoryPlan, GrowsWithTheBatchAndTheSitesAtOnce) {
  RunConfig config = SmallRun();
  MemoryInputs inputs;
  inputs.model = SmallModel();
  int64_t before = 0;
  for (const int64_t batch : {1, 2, 3, 8, 64}) {
    config.federation.train.batch_size = batch;
    inputs.work = LargestWork(config);
    const MemoryPlan plan = PlanMemory(config, inputs);
    EXPECT_GT(plan.training, before) << batch;
    before = plan.training;
  }
  config.federation.sites_at_once = 2;
  const int64_t sum = 4 * 112;  // there is one for all
  EXPECT_NEAR(static_cast<double>(PlanMemory(config, inputs).training - sum), 2.0 * static_cast<double>(before - sum), 2.0);
}

SiteData SiteOfLengths(std::initializer_list<int64_t> lengths) {
  SiteData site;
  for (const int64_t length : lengths) {
    TokenizedExample example;
    example.tokens.resize(static_cast<size_t>(length));
    example.response_begin = 2;
    site.train.push_back(example);
    site.test.tokenized.push_back(example);
    site.test.prompts.emplace_back(static_cast<size_t>(length));
  }
  return site;
}

TEST(WorkMeter, DataSaysHowLongBatchesAre) {
  RunConfig config = SmallRun();
  config.federation.train.batch_size = 3;
  config.federation.eval.options.loss_batch_size = 2;
  config.federation.eval.options.generate.beams = 5;
  WorkMeter meter(config);
  meter.Add(SiteOfLengths({3, 5, 9}));
  meter.Add(SiteOfLengths({3}));
  const WorkSizes work = meter.Sizes();
  EXPECT_EQ(work.train_tokens, 2 + 4 + 8);
  EXPECT_EQ(work.train_responses, 1 + 3 + 7);
  EXPECT_EQ(work.loss_tokens, 8) << "the batches are 2 + 4 and 8";
  EXPECT_EQ(work.loss_responses, 7);
  EXPECT_EQ(work.prompts, 3);
  EXPECT_EQ(work.prompt_tokens, 3 + 5 + 9);
  EXPECT_EQ(work.cached_tokens, 3 + 5 + 9 + 3 * 5 * 2 * 4) << "a prompt once, new tokens for each beam";
}

TEST(WorkMeter, PooledDataMeetInOneBatch) {
  RunConfig config = SmallRun();
  config.federation.train.batch_size = 3;
  config.federation.method.name = "pooled";
  WorkMeter meter(config);
  for (const int64_t length : {3, 5, 9}) meter.Add(SiteOfLengths({length}));
  EXPECT_EQ(meter.Sizes().train_tokens, 2 + 4 + 8);
  config.federation.method.name = "base";
  WorkMeter of_base(config);
  of_base.Add(SiteOfLengths({3}));
  EXPECT_EQ(of_base.Sizes().train_tokens, 0) << "it does not train";
}

TEST(MemoryPlan, WhatDoesNotFitIsRefusedByTheLimitThatDecides) {
  MemoryPlan plan;
  plan.program = 100;
  plan.base = 200;
  plan.training = 300;
  const auto refused = [&](int64_t available, MemoryBound bound, bool exact) {
    plan.available = available;
    plan.bound = bound;
    const Status status = CheckMemory(plan, exact);
    EXPECT_TRUE(status.ok() || KindOf(status) == ErrorKind::kMemory) << status;
    EXPECT_TRUE(status.ok() || status.message().find(MemoryBoundName(bound)) != std::string::npos) << status;
    return !status.ok();
  };
  for (const MemoryBound bound : {MemoryBound::kMachine, MemoryBound::kContainer, MemoryBound::kAddressSpace, MemoryBound::kData}) {
    EXPECT_TRUE(refused(299, bound, false));
    EXPECT_FALSE(refused(300, bound, false)) << "batches are an upper bound";
    EXPECT_FALSE(refused(600, bound, true));
    EXPECT_EQ(refused(599, bound, true), bound != MemoryBound::kMachine) << "other processes may end, limits stay";
  }
  EXPECT_FALSE(refused(0, MemoryBound::kMachine, true)) << "unknown";
}

TEST(MemoryPlan, NotesWhatThisProcessHas) {
  MemoryPlan plan;
  NoteAvailable(1, plan);
  EXPECT_GT(plan.available, 0);
  EXPECT_LE(plan.available, 2 * DescribeMachine().memory_total_bytes);
}

TEST(MemoryPlan, TooLittleMemoryIsRefusedBeforeLoading) {
  const std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) / absl::StrCat("fedalt_memory_", ::getpid());
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.json")
      << R"({"model_type": "llama", "vocab_size": 1048576, "hidden_size": 262144, "intermediate_size": 4,
             "num_hidden_layers": 1, "num_attention_heads": 2048, "max_position_embeddings": 8})";
  // One tensor of 1 TiB in a file that is nothing but a hole behind its header.
  std::string header = R"({"lm_head.weight":{"dtype":"F32","shape":[1048576,262144],"data_offsets":[0,1099511627776]}})";
  header.append((8 - header.size() % 8) % 8, ' ');
  const uint64_t size = header.size();
  std::ofstream(folder / "model.safetensors", std::ios::binary)
      << std::string(reinterpret_cast<const char*>(&size), sizeof(size)) << header;
  std::error_code error;
  std::filesystem::resize_file(folder / "model.safetensors", sizeof(size) + header.size() + 1'099'511'627'776, error);
  if (error) GTEST_SKIP() << "no file may be that long here: " << error.message();
  RunConfig config = SmallRun();
  config.model = folder;
  const auto run = LoadModel(config);
  ASSERT_FALSE(run.ok());
  EXPECT_EQ(KindOf(run.status()), ErrorKind::kMemory) << run.status();
  EXPECT_EQ(KindOf(CheckMemoryBefore(config)), ErrorKind::kMemory) << "as the commands ask before they hash anything";
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace fedalt
