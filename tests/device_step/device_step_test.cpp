// Training steps on a device, given out ahead of time, recorded and replayed: the same run as without any of it.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "core/accelerator.h"
#include "core/dtype.h"
#include "proto/config.pb.h"
#include "train/loading.h"
#include "train/memory_plan.h"
#include "train/session.h"
#include "train/step.h"

namespace lockstep {
namespace {

const std::string kJob =
    "name: 'job' epochs: 4 seed: 7\n"
    "model { name: 'resnet8' base_width: 8 }\n"
    "data { source: SYNTHETIC height: 12 width: 12 synthetic { size: 64 eval_size: 10 classes: 4 } }\n"
    "batch { global_batch: 8 shard_batch: 4 }\n"
    "optimizer { weight_decay: 5e-4 }\n"
    "schedule { kind: COSINE lr: 0.1 warmup_epochs: 0.5 }\n";

// A job of one rank and what its steps report.
class Job {
 public:
  explicit Job(const std::string& more, const TrainingState* from = nullptr, const std::vector<std::string>& set = {})
      : session_(make(more, set)), comm_(make_solo_communicator()) {
    if (from != nullptr) restore_state(*from, session_);
    to_device(session_);
    runner_ = make_step_runner(session_.config(), session_.plan, session_.network, *session_.optimizer, session_.average.get(), *comm_);
    next_ = from != nullptr ? static_cast<std::int64_t>(from->step) : 0;
    loader_ = std::make_unique<Loader>(*session_.train_source, train_loader_options(session_, 0, next_));
  }

  std::vector<StepResult> run(int steps, double lr = 0) {
    std::vector<StepResult> results;
    for (int i = 0; i < steps; ++i) {
      runner_->submit(next_, lr > 0 ? lr : session_.schedule->lr(next_), *loader_);
      ++next_;
      while (const auto result = runner_->take(false)) results.push_back(*result);
    }
    while (const auto result = runner_->take(true)) results.push_back(*result);
    return results;
  }

  // From the next step on images are of this size, with a runner and a loader of their own.
  void change_size(int size) {
    runner_.reset();
    LoaderOptions options = train_loader_options(session_, 0, next_);
    options.augment.out_height = options.augment.out_width = size;
    loader_ = std::make_unique<Loader>(*session_.train_source, options);
    runner_ = make_step_runner(session_.config(), session_.plan, session_.network, *session_.optimizer, session_.average.get(), *comm_);
  }

  Session& session() { return session_; }
  StepRunner& runner() { return *runner_; }
  Loader& loader() { return *loader_; }
  TrainingState state() { return capture_state(session_, next_); }
  std::string digest() { return state_digest(state()); }

 private:
  static Session make(const std::string& more, const std::vector<std::string>& set) {
    std::vector<ConfigOverride> overrides;
    for (const std::string& assignment : set) overrides.push_back(parse_override(assignment));
    LoadedConfig loaded = parse_config(kJob + more, "job", overrides);
    validate(loaded);
    return make_session(std::move(loaded), 1);
  }

  Session session_;
  std::unique_ptr<Communicator> comm_;
  std::unique_ptr<Loader> loader_;
  std::unique_ptr<StepRunner> runner_;
  std::int64_t next_ = 0;
};

const std::string kGpu = "backend: CUDA\n", kNoGraphs = "cuda { graphs: false }\n";

std::vector<double> losses(const std::vector<StepResult>& results) {
  std::vector<double> list;
  for (const StepResult& result : results) list.push_back(result.loss);
  return list;
}

// Two ways of adding in precision u: after a few steps losses differ by some hundred roundings of a sum's terms.
void expect_near(const std::vector<double>& got, const std::vector<double>& want, DType dtype, double factor) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], want[i], factor * dtype_epsilon(dtype) * static_cast<double>(i + 1) * std::fabs(want[i])) << "step " << i;
}

TEST(DeviceStep, TrainsAsTheReferenceDoes) {
  const std::vector<double> want = losses(Job("backend: REFERENCE\n").run(6));
  expect_near(losses(Job(kGpu + "cuda { tf32: false }\n").run(6)), want, DType::kF32, 1e4);
  EXPECT_GT(std::fabs(want[5] - want[0]), 1e-3) << "nothing was learnt, so nothing was compared";
}

TEST(DeviceStep, SixteenBitsStayNearTheReference) {
  const std::vector<double> want = losses(Job("backend: REFERENCE\n").run(4));
  expect_near(losses(Job(kGpu + "precision: BF16\n").run(4)), want, DType::kBF16, 16);
  expect_near(losses(Job(kGpu + "precision: FP16\n").run(4)), want, DType::kF16, 64);
}

// Their layers are those that the ResNets do not have. The first loss compares what goes forward, the second what goes backward; after
// that batch norm over so few images has made something else of the roundings (f32 and f64 on the reference part as far). In 16 bits
// the second depends on whether the loss scale skips the first step.
TEST(DeviceStep, OtherNetworksTrainAsTheReferenceDoes) {
  const std::vector<std::vector<std::string>> networks{
      {"model.name=alexnet_grouped", "model.base_width=6", "data.height=67", "data.width=67"},
      {"model.name=googlenet", "model.base_width=8", "model.stem=SMALL"},
      {"model.name=squeezenet1_1", "model.base_width=8", "data.height=24", "data.width=24"},
      {"model.name=shufflenet_v1_g3", "model.base_width=0", "model.width_multiplier=0.25", "model.stem=SMALL"},
      {"model.name=mobilenet_v2", "model.base_width=0", "model.width_multiplier=0.25", "model.stem=SMALL"},
      {"model.name=shiftnet_a", "model.base_width=8", "data.height=32", "data.width=32"}};
  constexpr double kLr = 1e-3;
  const auto first = [](std::vector<double> all, std::size_t count) { return std::vector<double>(all.begin(), all.begin() + static_cast<long>(count)); };
  for (const std::vector<std::string>& network : networks) {
    SCOPED_TRACE(network.front());
    const std::vector<double> want = losses(Job("backend: REFERENCE\n", nullptr, network).run(2, kLr));
    expect_near(first(losses(Job(kGpu + "cuda { tf32: false }\n", nullptr, network).run(4, kLr)), 2), first(want, 2), DType::kF32, 1e4);
    const std::vector<StepResult> half = Job(kGpu + "precision: FP16\n", nullptr, network).run(4, kLr);
    expect_near(first(losses(half), 1), first(want, 1), DType::kF16, 64);
    for (const StepResult& result : half) EXPECT_TRUE(std::isfinite(result.loss));
  }
}

TEST(DeviceStep, AReplayedStepHasTheBitsOfALaunchedOne) {
  for (const std::string precision : {"FP32", "BF16", "FP16"}) {
    const std::string job = kGpu + "precision: " + precision + "\n";
    Job recorded(job), launched(job + kNoGraphs);
    EXPECT_EQ(losses(recorded.run(7)), losses(launched.run(7))) << precision;
    EXPECT_EQ(recorded.digest(), launched.digest()) << precision;
  }
}

TEST(DeviceStep, EveryReplayIsAStepOfItsOwn) {
  Job job(kGpu);
  const std::vector<double> list = losses(job.run(8));
  for (std::size_t i = 1; i < list.size(); ++i) EXPECT_NE(list[i], list[i - 1]);
}

TEST(DeviceStep, ResultsComeOneStepLateAndInOrder) {
  Job job(kGpu);
  job.runner().submit(0, 0.1, job.loader());
  EXPECT_FALSE(job.runner().take(false)) << "the host runs on";
  job.runner().submit(1, 0.2, job.loader());
  const auto first = job.runner().take(false);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->step, 0);
  EXPECT_EQ(first->lr, 0.1);
  EXPECT_FALSE(job.runner().take(false));
  const auto second = job.runner().take(true);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->step, 1);
  EXPECT_FALSE(job.runner().take(true));
}

TEST(DeviceStep, AResumedRunHasTheDigestOfOneThatWasNot) {
  for (const std::string precision : {"FP32", "FP16"}) {
    const std::string job = kGpu + "precision: " + precision + " loss_scaling { growth_steps: 2 }\n";
    Job whole(job);
    whole.run(7);
    Job first(job);
    first.run(3);
    const TrainingState saved = first.state();
    Job second(job, &saved);
    second.run(4);
    EXPECT_EQ(second.digest(), whole.digest()) << precision;
    EXPECT_EQ(second.session().network.loss_scale.scale, whole.session().network.loss_scale.scale) << precision;
  }
}

TEST(DeviceStep, AnOverflowIsSkippedAndHalvesTheScale) {
  Job job(kGpu + "precision: FP16 loss_scaling { initial: 16777216 growth_steps: 100 }\n");
  const std::vector<StepResult> first = job.run(1);
  ASSERT_TRUE(first[0].skipped) << "a gradient times 2^24 overflows in 16 bits";
  EXPECT_FALSE(first[0].finite);
  EXPECT_EQ(first[0].loss_scale, 16777216);
  EXPECT_EQ(job.session().network.loss_scale.scale, 8388608);
  Job untouched(kGpu + "precision: FP16\n");
  for (const Parameter* parameter : untouched.session().network.model->parameters()) {
    const Tensor fresh = to_host(parameter->value);
    const Tensor now = to_host(job.session().network.model->parameters()[static_cast<std::size_t>(parameter->id)]->value);
    EXPECT_EQ(std::memcmp(fresh.ptr(), now.ptr(), fresh.nbytes()), 0) << parameter->name << " was updated by a skipped step";
  }
  StepResult last;
  for (int i = 0; i < 24 && (i == 0 || last.skipped); ++i) last = job.run(1)[0];
  EXPECT_TRUE(last.finite) << "a scale that fits is found";
  EXPECT_EQ(last.skipped_steps, job.session().network.loss_scale.skipped);
  EXPECT_GT(last.skipped_steps, 0);
}

TEST(DeviceStep, TheScaleGrowsAfterGoodSteps) {
  Job job(kGpu + "precision: FP16 loss_scaling { initial: 256 growth_steps: 3 }\n");
  const std::vector<StepResult> results = job.run(7);
  EXPECT_EQ(results[2].loss_scale, 256);
  EXPECT_EQ(results[3].loss_scale, 512);
  EXPECT_EQ(results[6].loss_scale, 1024);
}

TEST(DeviceStep, TheLossScaleChangesNoGradient) {
  const std::string job = kGpu + "precision: FP16 loss_scaling { growth_steps: 1000 initial: ";
  expect_near(losses(Job(job + "1024 }\n").run(3)), losses(Job(job + "2048 }\n").run(3)), DType::kF16, 64);
}

TEST(DeviceStep, WithoutScalingABadStepHaltsEverythingAfterIt) {
  Job job(kGpu);
  job.run(2);
  Tensor poison = to_host(job.session().network.model->parameters()[3]->value);
  poison.host<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  copy_contents(poison, job.session().network.model->parameters()[3]->value);
  const std::vector<StepResult> results = job.run(2);
  EXPECT_FALSE(results[0].finite);
  EXPECT_FALSE(results[0].skipped);
  EXPECT_GE(results[0].first_bad, 0);
  EXPECT_FALSE(results[1].finite) << "the step that was under way already updates nothing either";
  EXPECT_EQ(results[1].first_bad, results[0].first_bad);
  Job same(kGpu);
  same.run(2);
  for (const Parameter* parameter : same.session().network.model->parameters()) {
    if (parameter->id == 3) continue;
    const Tensor want = to_host(parameter->value);
    const Tensor got = to_host(job.session().network.model->parameters()[static_cast<std::size_t>(parameter->id)]->value);
    EXPECT_EQ(std::memcmp(want.ptr(), got.ptr(), want.nbytes()), 0) << parameter->name;
  }
}

const std::vector<std::string> kRecipe{"data.augment.mix.mixup_alpha=0.4", "data.augment.mix.cutmix_alpha=1", "average.decay=0.9",
                                       "optimizer.type=LARS", "optimizer.lars.trust_coefficient=0.02", "loss.label_smoothing=0.1"};

std::vector<double> elements(const std::vector<NamedTensor>& tensors) {
  std::vector<double> list;
  for (const NamedTensor& each : tensors) {
    const Tensor host = to_host(each.tensor);
    for (const float value : host.host<float>()) list.push_back(static_cast<double>(value));
  }
  return list;
}

TEST(DeviceStep, MixLarsAndAverageAreTheReferences) {
  Job host("backend: REFERENCE\n", nullptr, kRecipe), device(kGpu + "cuda { tf32: false }\n", nullptr, kRecipe);
  expect_near(losses(device.run(6)), losses(host.run(6)), DType::kF32, 1e4);
  EXPECT_NE(losses(Job(kGpu).run(2)), losses(Job(kGpu, nullptr, kRecipe).run(2)));
  const std::vector<double> want = elements(host.session().average->tensors()), got = elements(device.session().average->tensors());
  ASSERT_EQ(got.size(), want.size());
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    difference = std::hypot(difference, got[i] - want[i]);
    size = std::hypot(size, want[i]);
  }
  EXPECT_LT(difference, 1e4 * dtype_epsilon(DType::kF32) * size);
}

TEST(DeviceStep, ARecipesReplayedStepHasTheBitsOfALaunchedOneAndOfAResumedOne) {
  for (const std::string precision : {"FP32", "FP16"}) {
    const std::string job = kGpu + "precision: " + precision + "\n";
    Job recorded(job, nullptr, kRecipe), launched(job + kNoGraphs, nullptr, kRecipe), first(job, nullptr, kRecipe);
    recorded.run(7), launched.run(7), first.run(4);
    EXPECT_EQ(recorded.digest(), launched.digest()) << precision;
    const TrainingState saved = first.state();
    Job second(job, &saved, kRecipe);
    second.run(3);
    EXPECT_EQ(second.digest(), recorded.digest()) << precision;
  }
}

TEST(DeviceStep, ANewRunnerMayHaveAnotherImageSize) {
  for (const std::string& more : {kGpu, kGpu + kNoGraphs}) {
    Job job(more, nullptr, kRecipe);
    job.change_size(8);
    job.run(4);
    const TrainingState saved = job.state();
    job.change_size(12);
    job.run(4);
    Job resumed(more, &saved, kRecipe);
    resumed.run(4);
    EXPECT_EQ(job.digest(), resumed.digest()) << more;
    Job large(more, nullptr, kRecipe);
    large.run(8);
    EXPECT_NE(job.digest(), large.digest()) << "the smaller images changed nothing";
  }
}

TEST(DeviceStep, AStepThatIsNotFiniteLeavesTheAverageAlone) {
  Job job(kGpu, nullptr, kRecipe);
  job.run(3);
  const std::vector<double> before = elements(job.session().average->tensors());
  Tensor poison = to_host(job.session().network.model->parameters()[3]->value);
  poison.host<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  copy_contents(poison, job.session().network.model->parameters()[3]->value);
  EXPECT_FALSE(job.run(2).at(0).finite);
  EXPECT_EQ(elements(job.session().average->tensors()), before);
}

TEST(DeviceStep, ThePlannedPeakIsTheMeasuredOne) {
  for (const std::string precision : {"FP32", "FP16"}) {
    Job job(kGpu + "precision: " + precision, nullptr,
            {"model.base_width=16", "data.height=32", "data.width=32", "batch.shard_batch=8"});
    MemoryPlan plan = plan_memory_of(job.session());
    EXPECT_NE(plan.device, Device{});
    pool_of(plan.device).reset_peak();  // other tests' jobs took more
    job.run(5);
    const double planned = static_cast<double>(plan.peak_bytes()), measured = static_cast<double>(job.runner().device_peak_bytes());
    constexpr double kTablesAndPadding = 400e3;  // the optimizer's tables, staged batches, buckets' padding
    EXPECT_NEAR(planned, measured, 0.03 * measured + kTablesAndPadding) << precision;
    EXPECT_GT(planned, 3e6) << "the job is too small to say anything";
  }
}

TEST(DeviceStep, AStepThatCannotFitIsRefusedWithTheBatchThatWould) {
  Job job(kGpu);
  MemoryPlan plan = plan_memory_of(job.session());
  EXPECT_NO_THROW(check_fits(plan, job.session().plan));
  plan.pass_bytes = std::size_t{64} << 40;
  try {
    check_fits(plan, job.session().plan);
    FAIL() << "64 TiB fit";
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("batch.shard_batch: 4 takes"), testing::HasSubstr("MB"), testing::HasSubstr("image")));
  }
}

TEST(DeviceStep, TooManyShardsForARecordingAreRefused) {
  EXPECT_THROW(Job(kGpu, nullptr, {"batch.shard_batch=1", "batch.global_batch=1024", "data.synthetic.size=1024"}), UserError);
}

TEST(DeviceStep, AWarmStepTakesNoMemory) {
  Job job(kGpu);
  job.run(5);
  const PoolStats before = pool_of(job.session().network.kernels->device()).stats();
  const std::size_t peak = job.runner().device_peak_bytes();
  job.run(3);
  EXPECT_EQ(pool_of(job.session().network.kernels->device()).stats().system_allocations, before.system_allocations);
  EXPECT_EQ(job.runner().device_peak_bytes(), peak);
}

// ---- what is measured for the gradient noise scale

std::vector<double> squares(const std::vector<StepResult>& results) {
  std::vector<double> list;
  for (const StepResult& result : results) {
    if (!result.squares.measured) continue;
    for (const auto& of : {result.squares.part, result.squares.mean})
      for (const double square : of) list.push_back(square);
  }
  return list;
}

NoisePlan noise_plan(Job& job) { return plan_noise(job.session().config(), job.session().plan, *job.session().network.model); }

TEST(DeviceStep, SquaresOfGradientsAreTheReferences) {
  const std::vector<double> want = squares(Job("backend: REFERENCE\n").run(1)), got = squares(Job(kGpu + "cuda { tf32: false }\n").run(1));
  ASSERT_EQ(want.size(), std::size_t{2 * kMostNoiseGroups});
  EXPECT_GT(want[0], want[kMostNoiseGroups]) << "a part's gradient is longer than the mean of all";
  EXPECT_GT(want[kMostNoiseGroups], 0);
  expect_near(got, want, DType::kF32, 1e4);
}

TEST(DeviceStep, SquaresAreFreeOfTheLossScale) {
  const std::string job = kGpu + "precision: FP16 loss_scaling { growth_steps: 5 initial: ";
  Job small(job + "1024 }\n"), large(job + "8192 }\n");
  const int steps = static_cast<int>(noise_plan(small).every_steps) + 1;
  const std::vector<double> low = squares(small.run(steps)), high = squares(large.run(steps));
  ASSERT_EQ(low.size(), std::size_t{4 * kMostNoiseGroups}) << "at two steps, of different scales";
  expect_near(high, low, DType::kF16, 64);
}

// Steps that measure and steps that don't are different work, each recorded by itself.
TEST(DeviceStep, MeasuredStepsAreRecordedReplayedAndChangeNothing) {
  const std::string job = kGpu + "precision: FP16\n";
  Job recorded(job), launched(job + kNoGraphs), off(job + "logging { noise_scale: false }\n");
  const std::int64_t every = noise_plan(recorded).every_steps;
  ASSERT_GT(every, 2);
  const int steps = static_cast<int>(3 * every + 2);  // measured: two eager ones, a recorded one, and its replay
  const std::vector<StepResult> got = recorded.run(steps), want = launched.run(steps);
  for (const StepResult& result : got) EXPECT_EQ(result.squares.measured, result.step % every == 0);
  const std::vector<double> list = squares(got);
  ASSERT_EQ(list.size(), std::size_t{4 * 2 * kMostNoiseGroups});
  EXPECT_EQ(list, squares(want));
  EXPECT_NE(list[list.size() - 16], list[list.size() - 32]) << "each step's are its own";
  EXPECT_EQ(losses(got), losses(want));
  EXPECT_EQ(recorded.digest(), launched.digest());
  off.run(steps);
  EXPECT_EQ(recorded.digest(), off.digest()) << "measuring changes no bit of the training";
}

}  // namespace
}  // namespace lockstep
