// What recipes are made of against PyTorch's and timm's arithmetic, in f64 over 20 steps: LARS, averages, mixup, CutMix, label smoothing
// and schedules, by the very classes that a run uses. Data: tests/golden/training/training_trajectory.py.
//
// Tolerances: a run's errors are its roundings times its amplification, which the script measured (how far the run is moved by moved
// weights). Roundings: 20 steps of sums of at most some thousand terms each.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/mix_row.h"
#include "cpu/reference/reference_kernels.h"
#include "proto/config.pb.h"
#include "tests/models/support.h"
#include "tests/tolerance.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/shard_pass.h"
#include "train/weight_average.h"

namespace lockstep::test {
namespace {

constexpr int kSteps = 20, kClasses = 4;
const Shape kImageShape{8, 3, 16, 16};
constexpr std::int64_t kTerms = 8 * 16 * 16;  // of the longest sum: a channel's
const char* const kGoldenFile = "training/training_trajectory.txt";

// Takes what a pass gives.
class Sink final : public GradSink, public ObservationSink {
 public:
  explicit Sink(const Model& model) {
    for (const Parameter* parameter : model.parameters()) gradients_.push_back(Tensor::zeros(parameter->value.shape(), DType::kF64));
    for (const Buffer* buffer : model.buffers()) observations_.push_back(Tensor::zeros(buffer->value.shape(), DType::kF64));
  }
  Tensor gradient(const Parameter& parameter) override { return gradients_[static_cast<std::size_t>(parameter.id)]; }
  void mark_ready(const Parameter&) override {}
  Tensor observation(const Buffer& buffer) override { return observations_[static_cast<std::size_t>(buffer.id)]; }

 private:
  std::vector<Tensor> gradients_, observations_;
};

struct Recipe {
  proto::Optimizer optimizer;
  proto::WeightAverage average;
  double lr = 1, smoothing = 0;
  bool mixes = false;
  std::function<void(MixRow&)> change_row = {};
};

Recipe sgd_recipe() {
  Recipe recipe{.lr = 0.05};
  recipe.optimizer.set_weight_decay(1e-3);
  recipe.average.set_decay(0.9);
  recipe.average.set_warmup(false);
  return recipe;
}

Recipe lars_recipe() {
  Recipe recipe = sgd_recipe();
  recipe.lr = 1;
  recipe.optimizer.set_type(proto::Optimizer::LARS);
  recipe.optimizer.mutable_lars()->set_trust_coefficient(0.02);
  recipe.optimizer.mutable_lars()->set_eps(1e-6);
  return recipe;
}

Recipe recipe_of(const std::string& key) {
  Recipe recipe = key == "mixup" || key == "cutmix" ? sgd_recipe() : lars_recipe();
  recipe.mixes = key == "mixup" || key == "cutmix" || key == "recipe";
  if (key == "mixup" || key == "recipe") recipe.smoothing = 0.1;
  if (key == "mixup" || key == "cutmix") recipe.average.set_warmup(true);
  if (key == "cutmix") recipe.average.set_every_steps(2);
  if (key == "lars_nesterov_clipped") {
    recipe.optimizer.set_nesterov(true);
    recipe.optimizer.set_clip_norm(0.5);
    recipe.average.set_every_steps(3);
  }
  return recipe;
}

Tensor byte_images(int step) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(kImageShape.numel()));
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::uint8_t>(formula_bits(kImages + static_cast<std::uint64_t>(step), i) >> 56);
  Tensor tensor = Tensor::empty(kImageShape, DType::kU8);
  row_major_to_channels_last(bytes.data(), tensor.ptr(), kImageShape, 1);
  return tensor;
}

// The rows that timm's rule gives for what the script drew: one draw for the batch, partners from the other end.
Tensor mix_rows(const std::string& key, Golden& golden, int step, const Tensor& labels, const std::function<void(MixRow&)>& change) {
  Tensor tensor = Tensor::zeros({kImageShape[0], kMixRowWords}, DType::kI32);
  auto* rows = static_cast<MixRow*>(tensor.ptr());
  const double* box = golden.at(key + ".boxes").data() + 4 * step;
  const auto edge = [box](int i) { return static_cast<std::int32_t>(box[i]); };  // top, bottom, left, right
  for (std::int32_t i = 0; i < kImageShape[0]; ++i) {
    const auto partner = static_cast<std::int32_t>(kImageShape[0]) - 1 - i;
    rows[i] = {.partner = partner, .label = labels.host<std::int32_t>()[static_cast<std::size_t>(partner)],
               .weight = static_cast<float>(golden.at(key + ".weights").at(static_cast<std::size_t>(step))), .top = edge(0), .left = edge(2),
               .height = edge(1) - edge(0), .width = edge(3) - edge(2)};
    if (change) change(rows[i]);
  }
  return tensor;
}

struct Results {
  std::vector<double> losses, sums, square_sums, average_sums, average_square_sums;
};

void add_sums(const std::vector<Tensor>& tensors, std::vector<double>& sums, std::vector<double>& square_sums) {
  for (const Tensor& tensor : tensors) {
    double sum = 0, squares = 0;
    for (const double value : tensor.host<double>()) sum += value, squares += value * value;
    sums.push_back(sum), square_sums.push_back(squares);
  }
}

// Twenty steps as train/step.cpp's on one rank with one shard.
Results run(const std::string& key, Golden& golden, const Recipe& recipe) {
  Network network{.kernels = make_reference_kernels(),
                  .model = make_model({.name = "resnet8", .classes = kClasses, .height = 16, .width = 16, .base_width = 8, .dtype = DType::kF64}),
                  .mean = {0.5f, 0.5f, 0.5f}, .std = {0.25f, 0.25f, 0.25f}, .dtype = DType::kF64, .loss_scale = {}};
  Model& model = *network.model;
  set_formula_weights(model);
  SgdOptimizer optimizer(recipe.optimizer, model.parameters());
  WeightAverage average(recipe.average, model);
  ShardPass pass(network, recipe.smoothing, nullptr);
  Sink sink(model);
  Results results;
  const auto gradient = [&sink](const Parameter& parameter) { return sink.gradient(parameter); };
  for (int step = 0; step < kSteps; ++step) {
    const Tensor labels = formula_labels(step, kImageShape[0], kClasses);
    const Tensor mix = recipe.mixes ? mix_rows(key, golden, step, labels, recipe.change_row) : Tensor();
    StepTimes times;
    pass.train({byte_images(step), labels, mix}, 0, step, 0, sink, sink,
               [&](const Tensor& sums) { results.losses.push_back(read_sums(sums).loss / read_sums(sums).count); }, times);
    const double norm = optimizer.gradient_norm(*network.kernels, {}, gradient);
    optimizer.step(*network.kernels, {}, recipe.lr * (1 - step / static_cast<double>(kSteps)), norm, gradient);
    for (Buffer* buffer : model.buffers()) network.kernels->moving_average({}, sink.observation(*buffer), buffer->momentum, buffer->value);
    average.update(*network.kernels, {}, step);
  }
  std::vector<Tensor> values, averages;
  for (const Parameter* parameter : model.parameters()) values.push_back(parameter->value);
  for (const Buffer* buffer : model.buffers()) values.push_back(buffer->value);
  for (const NamedTensor& each : average.tensors()) averages.push_back(each.tensor);
  add_sums(values, results.sums, results.square_sums);
  add_sums(averages, results.average_sums, results.average_square_sums);
  return results;
}

// The largest difference, in units of the list's largest number.
double difference(const std::vector<double>& got, const std::vector<double>& want) {
  EXPECT_EQ(got.size(), want.size());
  double scale = 0, largest = 0;
  for (const double value : want) scale = std::max(scale, std::fabs(value));
  for (std::size_t i = 0; i < std::min(got.size(), want.size()); ++i) largest = std::max(largest, std::fabs(got[i] - want[i]));
  return largest / scale;
}

double tolerance(const std::string& key, Golden& golden) {
  return golden.at(key + ".amplification").at(0) * kSteps * error_bound(DType::kF64, kTerms, 1);
}

class TrainingTrajectory : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Each, TrainingTrajectory, ::testing::Values("lars", "lars_nesterov_clipped", "mixup", "cutmix", "recipe"),
                         [](const auto& each) { return std::string(each.param); });

TEST_P(TrainingTrajectory, EqualsTimm) {
  const std::string key = GetParam();
  Golden golden = read_golden(kGoldenFile);
  const Results got = run(key, golden, recipe_of(key));
  const double bound = tolerance(key, golden);
  EXPECT_LT(bound, 1e-10) << "so wide a tolerance shows nothing";
  for (const auto& [what, values] : std::vector<std::pair<std::string, const std::vector<double>*>>{
           {"losses", &got.losses}, {"sums", &got.sums}, {"square_sums", &got.square_sums}, {"average_sums", &got.average_sums},
           {"average_square_sums", &got.average_square_sums}})
    EXPECT_LT(difference(*values, golden.at(key + "." + what)), bound) << what;
}

// Negative control: each ingredient, a little changed, must show.
TEST(TrainingTrajectoryControl, EveryIngredientIsSeen) {
  Golden golden = read_golden(kGoldenFile);
  struct Change {
    const char* key;
    const char* what;
    std::function<void(Recipe&)> apply;
  };
  const std::vector<Change> changes{
      {"lars", "trust coefficient", [](Recipe& r) { r.optimizer.mutable_lars()->set_trust_coefficient(0.0201); }},
      {"lars", "eps", [](Recipe& r) { r.optimizer.mutable_lars()->set_eps(1e-3); }},
      {"lars", "decay of norms", [](Recipe& r) { r.optimizer.set_decay_norm_and_bias(true); }},
      {"lars_nesterov_clipped", "clip norm", [](Recipe& r) { r.optimizer.set_clip_norm(0.51); }},
      {"lars_nesterov_clipped", "nesterov", [](Recipe& r) { r.optimizer.set_nesterov(false); }},
      {"mixup", "label's weight", [](Recipe& r) { r.change_row = [](MixRow& row) { row.label = (row.label + 1) % kClasses; }; }},
      {"mixup", "label smoothing", [](Recipe& r) { r.smoothing = 0.101; }},
      {"cutmix", "box", [](Recipe& r) { r.change_row = [](MixRow& row) { row.width -= row.width > 1 ? 1 : 0; }; }}};
  for (const auto& [key, what, apply] : changes) {
    Recipe recipe = recipe_of(key);
    apply(recipe);
    EXPECT_GT(difference(run(key, golden, recipe).losses, golden.at(std::string(key) + ".losses")), 1e3 * tolerance(key, golden)) << what;
  }
  Recipe slow = recipe_of("lars"), often = recipe_of("cutmix"), cold = recipe_of("mixup");
  slow.average.set_decay(0.899);
  often.average.set_every_steps(1);
  cold.average.set_warmup(false);
  for (const auto& [key, recipe] : {std::pair{"lars", slow}, std::pair{"cutmix", often}, std::pair{"mixup", cold}})
    EXPECT_GT(difference(run(key, golden, recipe).average_sums, golden.at(std::string(key) + ".average_sums")), 1e3 * tolerance(key, golden)) << key;
}

// 5 steps an epoch, 4 epochs, base rate 0.5; `fields`: the schedule as in a config.
struct ScheduleCase {
  const char* key;
  std::function<void(proto::Schedule&)> set;
};

proto::Config schedule_config(const ScheduleCase& each) {
  proto::Config config;
  config.set_epochs(4);
  config.mutable_schedule()->set_lr(0.5);
  each.set(*config.mutable_schedule());
  return config;
}

TEST(ScheduleTrajectory, EveryKindEqualsTorchsOrTimms) {
  Golden golden = read_golden(kGoldenFile);
  const auto warm = [](proto::Schedule& s) { s.set_warmup_epochs(1), s.set_warmup_start_factor(0.2); };
  const auto milestones = [](proto::Schedule& s) {
    s.set_kind(proto::Schedule::MULTISTEP);
    for (const double epoch : {1.2, 3.0}) s.add_milestones_epochs(epoch);
  };
  const auto one_cycle = [](proto::Schedule& s) {
    s.set_kind(proto::Schedule::ONE_CYCLE);
    s.mutable_one_cycle()->set_end_factor(0.01);
  };
  const std::vector<ScheduleCase> cases{
      {"constant", [&](proto::Schedule& s) { s.set_kind(proto::Schedule::CONSTANT), warm(s); }},
      {"step", [](proto::Schedule& s) { s.set_kind(proto::Schedule::STEP), s.set_step_epochs(1), s.set_gamma(0.3); }},
      {"multistep", milestones},
      {"cosine", [](proto::Schedule& s) { s.set_kind(proto::Schedule::COSINE), s.set_end_factor(0.1); }},
      {"cosine_warmup", [&](proto::Schedule& s) { s.set_kind(proto::Schedule::COSINE), warm(s); }},
      {"poly", [](proto::Schedule& s) { s.set_kind(proto::Schedule::POLY); }},
      {"poly_warmup", [&](proto::Schedule& s) { s.set_kind(proto::Schedule::POLY), warm(s), s.set_end_factor(0.1); }},
      {"linear", [](proto::Schedule& s) { s.set_kind(proto::Schedule::LINEAR), s.set_end_factor(0.1); }},
      {"one_cycle", one_cycle}};
  ASSERT_GE(cases.size(), std::size_t{proto::Schedule::Kind_ARRAYSIZE}) << "a kind of schedule without a case";
  for (const ScheduleCase& each : cases) {
    const proto::Config config = schedule_config(each);
    const Schedule schedule(config, 5);
    const std::vector<double>& want = golden.at(std::string("schedule.") + each.key);
    ASSERT_EQ(want.size(), std::size_t{kSteps}) << each.key;
    for (int step = 0; step < kSteps; ++step)  // torch's schedulers go from rate to rate: a few roundings a step, of numbers up to the base rate
      EXPECT_NEAR(schedule.lr(step), want[static_cast<std::size_t>(step)], error_bound(DType::kF64, 4 * (step + 1), 0.5)) << each.key << " " << step;
  }
}

}  // namespace
}  // namespace lockstep::test
