// Each op's work, as it states it, against what the kernels' own counters see when it runs: op by op and for whole networks.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "core/error.h"
#include "cpu/reference/reference_kernels.h"
#include "models/model.h"
#include "models/zoo.h"
#include "ops/activation.h"
#include "ops/adaptive_avg_pool.h"
#include "ops/add.h"
#include "ops/avg_pool.h"
#include "ops/conv2d.h"
#include "ops/dropout.h"
#include "ops/global_avg_pool.h"
#include "ops/linear.h"
#include "ops/max_pool.h"
#include "ops/norm_conv2d.h"
#include "ops/registry.h"
#include "ops/relu.h"
#include "ops/response_norm.h"
#include "ops/shift_channels.h"
#include "ops/shuffle_channels.h"
#include "planning/analysis.h"
#include "planning/step_calls.h"
#include "tests/ops/sample_values.h"
#include "train/trace_kernels.h"

namespace lockstep {
namespace {

struct Seen {
  double operations = 0, bytes = 0;
};

// Without the few numbers per channel that evaluation prepares its batch norms with.
Seen sum_of(const std::vector<OpCall>& calls) {
  Seen seen;
  for (const OpCall& call : calls) {
    if (std::string_view(call.name) == "batch_norm_inv_std") continue;
    seen.operations += call.flops;
    seen.bytes += call.bytes;
  }
  return seen;
}

// What the reference kernels see of one forward call in f64. Without a tape, so that nothing is kept for a backward pass.
Seen run_traced(const OpSample& sample) {
  std::unique_ptr<Kernels> kernels = make_reference_kernels();
  const SampleData data = draw_sample(*kernels, sample, DType::kF64);
  OpLog log(64);
  {
    const KernelTap tap(kernels, log);
    Context ctx = sample_context(*kernels, sample, nullptr);
    sample.run(ctx, bind_values(sample, data, nullptr));
  }
  return sum_of(log.calls());
}

std::int64_t elements(const OpSample& sample, InputRole role) {
  std::int64_t sum = 0;
  for (const SampleInput& input : sample.inputs) sum += input.role == role ? input.shape.numel() : 0;
  return sum;
}

// Bytes that the kernels' counters leave out of the op's numbers, or count beside them.
double bytes_beside(const std::string& op, const OpSample& sample) {
  const auto f64 = [](std::int64_t count) { return 8.0 * static_cast<double>(count); };
  if (op == "batch_norm" || op == "norm_conv2d") return -f64(sample.work.vectors);  // channel vectors are not counted there
  if (op == "normalise_image")  // bytes to f32
    return -7.0 * static_cast<double>(sample.work.inputs) - 4.0 * static_cast<double>(sample.work.outputs);
  if (op == "softmax_cross_entropy")  // labels are i32; the loss isn't counted
    return 4.0 * static_cast<double>(elements(sample, InputRole::kLabels) + elements(sample, InputRole::kMixRows)) - f64(1);
  return 0;
}

class OpWork : public testing::TestWithParam<OpSpec> {};

TEST_P(OpWork, IsWhatTheKernelsSee) {
  const OpSpec& spec = GetParam();
  for (OpSample sample : spec.samples) {
    SCOPED_TRACE(spec.name + ", " + sample.name);
    const bool norm = spec.name == "batch_norm" || spec.name == "norm_conv2d";
    if (norm) sample.training = false;  // in training the moments are read in a pass of their own
    const Work& work = sample.work;
    const Seen seen = run_traced(sample);
    EXPECT_EQ(static_cast<double>(work.operations), seen.operations);
    const double numbers = static_cast<double>(work.weights + work.vectors + work.inputs + work.outputs);
    EXPECT_EQ(8 * numbers + bytes_beside(spec.name, sample), seen.bytes);
  }
}

INSTANTIATE_TEST_SUITE_P(AllOps, OpWork, testing::ValuesIn(all_ops().begin(), all_ops().end()),
                         [](const auto& instance) { return instance.param.name; });

// Kernels don't count these: by hand, for 2 images of 4 channels, 6 x 6.
TEST(OpWork, OperationsBesideProductsAreAsDocumented) {
  const Shape x{2, 4, 6, 6};
  constexpr std::int64_t kElements = 2 * 4 * 6 * 6;
  EXPECT_EQ(conv2d_work(x, {8, 4, 3, 3}, {.pad = {1, 1}}).other_operations, 0);
  EXPECT_EQ(conv2d_work(x, {8, 4, 3, 3}, {.pad = {1, 1}}, true).other_operations, 2 * kElements);
  EXPECT_EQ(conv2d_work(x, {8, 2, 3, 3}, {.pad = {1, 1}, .groups = 2}).operations, 2 * 2 * kElements * 2 * 9);
  EXPECT_EQ(linear_work({5, 7}, {3, 7}, true).other_operations, 5 * 3);
  EXPECT_EQ(batch_norm_work(x).other_operations, 2 * kElements);
  EXPECT_EQ(batch_norm_work(x, true, true).other_operations, 4 * kElements);
  EXPECT_EQ(batch_norm_work(x, true, true).inputs, 2 * kElements);
  EXPECT_EQ(relu_work(x).other_operations, kElements);
  EXPECT_EQ(add_work(x).other_operations, kElements);
  EXPECT_EQ(activation_work(x).other_operations, kElements);
  EXPECT_EQ(dropout_work(x).other_operations, 2 * kElements);
  EXPECT_EQ(max_pool_work(x, {}).other_operations, kElements / 4 * 3);
  EXPECT_EQ(avg_pool_work(x, {}).other_operations, kElements);
  EXPECT_EQ(global_avg_pool_work(x).other_operations, kElements);
  EXPECT_EQ(adaptive_avg_pool_work(x, {4, 3}).other_operations, 2 * 4 * (2 + 2 + 2 + 2) * 6);  // rows 0-1, 1-2, 3-4, 4-5
  EXPECT_EQ(adaptive_avg_pool_work(x, {6, 6}), Work{}) << "the image itself";
  EXPECT_EQ(response_norm_work(x, {.size = 5}).other_operations, 14 * kElements);
  EXPECT_EQ(shuffle_channels_work(x, 2).other_operations, 0);
  EXPECT_EQ(shuffle_channels_work(x, 1), Work{});
  EXPECT_EQ(shift_channels_work(x, 3), Work{}) << "fewer channels than directions";
}

TEST(OpWork, AnAbsurdCountIsAUserErrorNotAnOverflow) {
  const Shape x{1 << 20, 1 << 10, 1 << 10, 1 << 10}, w{1 << 20, 1 << 10, 1, 1};
  EXPECT_THROW(conv2d_work(x, w, {}), UserError);
  const Work half{.operations = std::int64_t{1} << 62};
  EXPECT_THROW(half + half, UserError);
}

// By the table, in f32: every number once. The kernels' counters take no notice of batch norm's vectors.
double evaluation_bytes(const NetworkCount& count) {
  std::int64_t numbers = 0;
  for (const LayerInfo& layer : count.layers) {
    const Work& work = layer.work;
    if (layer.op != "dropout") numbers += work.weights + work.inputs + work.outputs + (has_weights(layer) ? work.vectors : 0);
  }
  return 4.0 * static_cast<double>(numbers);
}

// The rows of a network's table are the ops on its tape.
class NetworkWork : public testing::TestWithParam<const char*> {};

TEST_P(NetworkWork, IsWhatTheKernelsSeeForwardAndInAStep) {
  constexpr std::int64_t kBatch = 2;
  const int side = published_side(GetParam());
  const ModelOptions options{.name = GetParam(), .classes = 10, .height = side, .width = side};
  const NetworkCount count = count_network(*make_model(options), {kBatch, 3, side, side});
  const double forward = static_cast<double>(count.with_weights().operations);
  std::vector<OpCall> calls = step_calls(make_model(options), kBatch, DType::kF32, false);
  ASSERT_STREQ(calls.front().name, "normalise_image");  // no op of the network's
  calls.erase(calls.begin());
  EXPECT_EQ(sum_of(calls).operations, forward);
  EXPECT_EQ(sum_of(calls).bytes, evaluation_bytes(count));
  // Forward once, backward twice, but for the images' gradient, which nobody needs.
  const double stem = static_cast<double>(count.layers.front().work.operations);
  ASSERT_GT(stem, 0);
  EXPECT_EQ(sum_of(step_calls(make_model(options), kBatch, DType::kF32, true)).operations, 3 * forward - stem);
}

INSTANTIATE_TEST_SUITE_P(Some, NetworkWork,
                         testing::Values("resnet8", "resnet50", "alexnet", "alexnet_grouped", "googlenet", "squeezenet1_1", "shufflenet_v1_g3",
                                         "mobilenet_v2", "shiftresnet20", "densenet121"));

TEST(NetworkWork, AFusedNormAndConvolutionAreTheWorkOfTheirOp) {
  const NetworkCount count = count_network(*make_model({.name = "resnet8", .classes = 10, .height = 32, .width = 32}), {4, 3, 32, 32});
  bool found = false;
  for (std::size_t i = 0; i + 1 < count.layers.size(); ++i) {
    if (count.layers[i].name != "layer2.0.bn1") continue;
    found = true;
    const Work both = count.layers[i].work + count.layers[i + 1].work;
    EXPECT_EQ(both, norm_conv2d_work({4, 32, 16, 16}, {32, 32, 3, 3}, {.pad = {1, 1}}));
  }
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace lockstep
