// One local pass: ten steps follow PyTorch, the same seed gives the same bits, what is frozen stays, faults are told.
#include "train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <system_error>

#include "base/interrupt.h"
#include "data/packed_batch.h"
#include "train/adamw.h"
#include "train/library_errors.h"
#include "train/tiny_model.h"

namespace fedalt {
namespace {

using namespace fedalt::testing;  // NOLINT: the fixture of this folder

StatusOr<TrainReport> Train(const Transformer& model, SiteAdapters& adapters, const TrainOptions& options, TrainState& state,
                            const StepCallback& on_step = nullptr) {
  return TrainLocalPass(model, adapters, TinyExamples(), options, TinyKey(), state, on_step);
}

TEST(TrainLocalPass, TenStepsFollowThePyTorchReference) {
  const auto model = TinyModel();
  auto adapters = TinyAdapters(*model);
  BatchPlan plan{TinyKey().seed, TinyKey().site, TinyKey().round, 1, TinyOptions().steps, TinyOptions().batch_size};
  ASSERT_EQ(nlohmann::json(PlanBatches(10, plan)), Steps()["batches"]);
  TrainState state;
  const auto report = Train(*model, *adapters, TinyOptions(), state);
  ASSERT_TRUE(report.ok()) << report.status();
  const std::vector<double> losses = Steps()["losses"];
  ASSERT_EQ(report->step_losses.size(), losses.size());
  for (size_t i = 0; i < losses.size(); ++i) EXPECT_NEAR(report->step_losses[i], losses[i], 1e-5) << "step " << i;
  EXPECT_LT(Worst(adapters->Individual(), FromFile("final.safetensors", "individual", adapters->Individual())), 1e-5);
  EXPECT_LT(Worst(adapters->Mixer(), FromFile("final.safetensors", "mixer", adapters->Mixer())), 1e-5);
  EXPECT_GT(Worst(adapters->Individual(), FromFile("initial.safetensors", "individual", adapters->Individual())), 1e-3);
  EXPECT_EQ(report->steps, 10);
  EXPECT_EQ(report->first_loss, report->step_losses.front());
  EXPECT_EQ(report->last_loss, report->step_losses.back());
  EXPECT_EQ(state.step, 10);
  EXPECT_GT(report->response_tokens, 0);
  EXPECT_GT(report->tokens, report->response_tokens);
}

TEST(TrainLocalPass, SameSeedSameBitsAndNothingFrozenMoves) {
  const auto model = TinyModel();
  auto first = TinyAdapters(*model), second = TinyAdapters(*model);
  const NamedTensors rest_of_world = Copy(first->RestOfWorld()), base = Copy(model->parameters());
  TrainState first_state, second_state;
  ASSERT_TRUE(Train(*model, *first, TinyOptions(), first_state).ok());
  ASSERT_TRUE(Train(*model, *second, TinyOptions(), second_state).ok());
  EXPECT_EQ(Worst(first->Individual(), second->Individual()), 0.0);
  EXPECT_EQ(Worst(first->Mixer(), second->Mixer()), 0.0);
  EXPECT_EQ(Worst(NamedTrainState(*first, first_state), NamedTrainState(*second, second_state)), 0.0);
  EXPECT_EQ(Worst(first->RestOfWorld(), rest_of_world), 0.0);
  EXPECT_EQ(Worst(model->parameters(), base), 0.0);
  for (const auto& [name, tensor] : first->Individual()) EXPECT_FALSE(tensor.requires_grad()) << name << " after the pass";
}

// The same ten examples per step, cut into batches differently: the loss is a mean over the step's response tokens and dropout is
// addressed by example, so only the order of float32 sums differs.
TEST(TrainLocalPass, AccumulationEqualsOneLargeBatch) {
  const auto model = TinyModel();
  auto whole = TinyAdapters(*model), pieces = TinyAdapters(*model);
  const auto examples = TinyExamples();
  const std::vector<TokenizedExample> eight(examples.begin(), examples.begin() + 8);
  TrainOptions options = TinyOptions();
  options.steps = 6;
  options.batch_size = 8;
  TrainState whole_state, pieces_state;
  const auto a = TrainLocalPass(*model, *whole, eight, options, TinyKey(), whole_state, nullptr);
  options.batch_size = 4;
  options.accumulate = 2;
  const auto b = TrainLocalPass(*model, *pieces, eight, options, TinyKey(), pieces_state, nullptr);
  ASSERT_TRUE(a.ok() && b.ok()) << a.status() << b.status();
  ASSERT_EQ(b->steps, 6);
  for (size_t i = 0; i < 6; ++i) EXPECT_NEAR(a->step_losses[i], b->step_losses[i], 1e-5);
  EXPECT_LT(Worst(whole->Individual(), pieces->Individual()), 1e-5);
  EXPECT_EQ(a->response_tokens, b->response_tokens);
}

TEST(TrainLocalPass, FreezesWhatItIsTold) {
  const auto model = TinyModel();
  AdapterConfig config = TinyConfig();
  config.freeze_a = true;
  auto adapters = TinyAdapters(*model, config);
  const NamedTensors individual = Copy(adapters->Individual()), mixer = Copy(adapters->Mixer());
  TrainOptions options = TinyOptions();
  options.train_mixer = false;
  TrainState state;
  ASSERT_TRUE(Train(*model, *adapters, options, state).ok());
  EXPECT_EQ(Worst(adapters->Mixer(), mixer), 0.0);
  for (size_t i = 0; i < individual.size(); ++i)
    EXPECT_EQ(at::equal(adapters->Individual()[i].second, individual[i].second), i % 2 == 0) << individual[i].first;
  EXPECT_EQ(state.names.size(), individual.size() / 2);

  adapters->mode().mixer_active = false;  // before mixer_start_round
  options.train_mixer = true;
  state = {};
  ASSERT_TRUE(Train(*model, *adapters, options, state).ok());
  EXPECT_EQ(Worst(adapters->Mixer(), mixer), 0.0);

  adapters->mode().mixer_active = true;  // the mixer alone
  options.train_a = options.train_b = false;
  state = {};
  const NamedTensors before = Copy(adapters->Individual());
  ASSERT_TRUE(Train(*model, *adapters, options, state).ok());
  EXPECT_EQ(Worst(adapters->Individual(), before), 0.0);
  EXPECT_GT(Worst(adapters->Mixer(), mixer), 0.0);
}

TEST(TrainLocalPass, LearnsWithEveryMixer) {
  const auto model = TinyModel();
  for (MixerKind mixer : {MixerKind::kToken, MixerKind::kLayer, MixerKind::kFixed, MixerKind::kNone}) {
    AdapterConfig config = TinyConfig();
    config.mixer = mixer;
    auto adapters = TinyAdapters(*model, config);
    TrainOptions options = TinyOptions();
    options.steps = 40;
    options.lr = 3e-2;
    TrainState state;
    const auto report = Train(*model, *adapters, options, state);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_LT(report->last_loss, 0.7 * report->first_loss) << static_cast<int>(mixer);
  }
}

TEST(TrainLocalPass, EpochsDecideTheNumberOfSteps) {
  const auto model = TinyModel();
  auto adapters = TinyAdapters(*model);
  TrainOptions options = TinyOptions();
  options.steps = 0;
  options.local_epochs = 2;
  options.accumulate = 2;
  TrainState state;
  const auto report = Train(*model, *adapters, options, state);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->steps, 3);  // two epochs of batches of 4, 4, 2
}

TEST(TrainLocalPass, StopsInTheMiddleOfAStep) {
  const auto model = TinyModel();
  auto adapters = TinyAdapters(*model);
  const NamedTensors base = Copy(model->parameters());
  TrainState state;
  int64_t steps_done = 0;
  const auto report = Train(*model, *adapters, TinyOptions(), state, [&](int64_t step, int64_t, double) {
    steps_done = step;
    SetInterruptRequested(step == 2);
    return true;  // the callback itself does not stop
  });
  SetInterruptRequested(false);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(KindOf(report.status()), ErrorKind::kInterrupted) << report.status();
  EXPECT_EQ(steps_done, 2);
  EXPECT_EQ(state.step, 2) << "nothing of the third step was applied";
  for (const auto& [name, tensor] : adapters->Individual()) EXPECT_FALSE(tensor.requires_grad()) << name;
  // What was left in the middle disturbs nothing that comes after it.
  auto once_more = TinyAdapters(*model), undisturbed = TinyAdapters(*model);
  TrainState one, other;
  ASSERT_TRUE(Train(*model, *once_more, TinyOptions(), one).ok());
  ASSERT_TRUE(Train(*model, *undisturbed, TinyOptions(), other).ok());
  EXPECT_EQ(Worst(once_more->Individual(), undisturbed->Individual()), 0.0);
  EXPECT_EQ(Worst(model->parameters(), base), 0.0);
}

TEST(TrainLocalPass, StopsWhenTheCallbackSaysSo) {
  const auto model = TinyModel();
  auto adapters = TinyAdapters(*model);
  TrainState state;
  std::vector<int64_t> seen;
  const auto report = Train(*model, *adapters, TinyOptions(), state, [&](int64_t step, int64_t steps, double loss) {
    EXPECT_EQ(steps, 10);
    EXPECT_GT(loss, 0.0);
    seen.push_back(step);
    return step < 3;
  });
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(KindOf(report.status()), ErrorKind::kInterrupted);
  EXPECT_EQ(seen, (std::vector<int64_t>{1, 2, 3}));
}

TEST(TrainLocalPass, TellsTheStepOfANonFiniteLoss) {
  const auto model = TinyModel();
  auto adapters = TinyAdapters(*model);
  TrainState state;
  const auto report = Train(*model, *adapters, TinyOptions(), state, [&](int64_t step, int64_t, double) {
    const at::NoGradGuard no_grad;
    if (step == 2) adapters->layer(0).adapters().individual.b_or.fill_(std::numeric_limits<float>::quiet_NaN());
    return true;
  });
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(KindOf(report.status()), ErrorKind::kTraining);
  EXPECT_NE(report.status().message().find("step 3 of 10"), std::string::npos) << report.status();
}

TEST(TrainLocalPass, RefusesWhatCannotBeTrained) {
  const auto model = TinyModel();
  auto adapters = TinyAdapters(*model);
  TrainState state;
  TrainOptions options = TinyOptions();
  EXPECT_EQ(KindOf(TrainLocalPass(*model, *adapters, {}, options, TinyKey(), state, nullptr).status()), ErrorKind::kData);
  options.train_a = options.train_b = options.train_mixer = false;
  EXPECT_EQ(KindOf(Train(*model, *adapters, options, state).status()), ErrorKind::kConfig);
  options = TinyOptions();
  options.accumulate = 0;
  EXPECT_EQ(KindOf(Train(*model, *adapters, options, state).status()), ErrorKind::kConfig);
}

TEST(TrainState, SurvivesItsNamesAndMustFit) {
  const auto model = TinyModel();
  auto adapters = TinyAdapters(*model);
  TrainState state;
  ASSERT_TRUE(Train(*model, *adapters, TinyOptions(), state).ok());
  const NamedTensors named = NamedTrainState(*adapters, state);
  const auto again = TrainStateFromNamed(named);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->step, state.step);
  EXPECT_EQ(Worst(NamedTrainState(*adapters, *again), named), 0.0);

  NamedTensors broken = named;
  std::swap(broken[1], broken[2]);
  EXPECT_EQ(KindOf(TrainStateFromNamed(broken).status()), ErrorKind::kModel);
  broken = named;
  broken.pop_back();
  EXPECT_EQ(KindOf(TrainStateFromNamed(broken).status()), ErrorKind::kModel);
  EXPECT_EQ(KindOf(TrainStateFromNamed({}).status()), ErrorKind::kModel);

  TrainOptions options = TinyOptions();
  options.train_mixer = false;
  const auto refused = Train(*model, *adapters, options, state);
  EXPECT_EQ(KindOf(refused.status()), ErrorKind::kModel) << "moments of other tensors";
}

TEST(Adamw, FirstStepIsTheSignAndTheDecay) {
  at::Tensor p = at::tensor({2.0, -2.0, 1.0}, at::kDouble), m = at::zeros_like(p), v = at::zeros_like(p);
  AdamwStep step;
  step.lr = 0.1;
  step.weight_decay = 0.5;
  ApplyAdamw(step, p, at::tensor({3.0, -0.25, 0.0}, at::kDouble), m, v);
  EXPECT_NEAR(p[0].item<double>(), 2.0 * 0.95 - 0.1, 1e-8);
  EXPECT_NEAR(p[1].item<double>(), -2.0 * 0.95 + 0.1, 1e-8);
  EXPECT_NEAR(p[2].item<double>(), 0.95, 1e-12);
}

TEST(Adamw, ClippingFollowsTorch) {
  EXPECT_NEAR(GlobalNorm({at::full({3}, 2.0, at::kDouble), at::full({2, 2}, 1.0)}), 4.0, 1e-12);
  EXPECT_DOUBLE_EQ(ClipFactor(4.0, 1.0), 1.0 / (4.0 + 1e-6));
  EXPECT_DOUBLE_EQ(ClipFactor(0.5, 1.0), 1.0);
  EXPECT_DOUBLE_EQ(ClipFactor(4.0, 0.0), 1.0);
}

TEST(CatchLibraryErrors, BecomesAStatus) {
#if !defined(__SANITIZE_ADDRESS__)
  EXPECT_EQ(KindOf(CatchLibraryErrors("test",
                                      [] {
                                        (void)at::empty({int64_t{1} << 50}, at::kFloat);
                                        return absl::OkStatus();
                                      })),
            ErrorKind::kMemory);
#endif
  EXPECT_EQ(KindOf(CatchLibraryErrors("test", []() -> Status { throw std::bad_alloc(); })), ErrorKind::kMemory);
  const auto fails_with = [](std::errc code) {
    return KindOf(CatchLibraryErrors("test", [&]() -> Status { throw std::system_error(std::make_error_code(code)); }));
  };
  EXPECT_EQ(fails_with(std::errc::resource_unavailable_try_again), ErrorKind::kMemory) << "a thread that cannot be started";
  EXPECT_EQ(fails_with(std::errc::no_such_device), ErrorKind::kInternal);
  EXPECT_EQ(KindOf(CatchLibraryErrors("test", []() -> Status { throw Interrupted(); })), ErrorKind::kInterrupted);
  const Status status = CatchLibraryErrors("test", [] {
    (void)at::mm(at::ones({2, 3}), at::ones({2, 3}));
    return absl::OkStatus();
  });
  EXPECT_EQ(KindOf(status), ErrorKind::kInternal);
  EXPECT_EQ(status.message().find('\n'), std::string_view::npos) << "no stack trace: " << status;
  EXPECT_TRUE(CatchLibraryErrors("test", [] { return absl::OkStatus(); }).ok());
}

}  // namespace
}  // namespace fedalt
