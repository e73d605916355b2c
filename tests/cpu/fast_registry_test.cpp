// Every registered op on the fast backend: outputs and gradients against the f64 reference, and the same bits twice.
// SPDX-License-Identifier: Apache-2.0
#include "tests/cpu/fast_test_util.h"
#include "tests/ops/sample_values.h"

namespace lockstep {
namespace {

class FastRegistry : public FastBackend {};
INSTANTIATE_TEST_SUITE_P(EachSimd, FastRegistry, ::testing::ValuesIn(available_simd().begin(), available_simd().end()), simd_name);

double largest(const Tensor& tensor) {
  double size = 0;
  for (const double value : to_vector(tensor)) size = std::max(size, std::fabs(value));
  return size;
}

struct Comparison {
  std::string name;
  std::int64_t elements = 0;  // of all inputs: at least as many as any output depends on
  double amplification = 1;   // 1 + the largest input: what x - mean can lose

  void expect(const std::string& what, const Tensor& got, const Tensor& want) const {
    ASSERT_EQ(got.shape(), want.shape()) << name << " " << what;
    const double bound = error_bound(DType::kF32, elements + 16, largest(want) * amplification);
    for (std::int64_t i = 0; i < got.numel(); ++i)
      ASSERT_TRUE(within(get_value(got, i), get_value(want, i), bound))
          << name << " " << what << " " << i << ": got " << get_value(got, i) << ", want " << get_value(want, i) << ", bound " << bound;
  }
};

void compare(Kernels& fast, Kernels& reference, const std::string& name, const OpSample& sample) {
  const SampleData data = draw_sample(reference, sample, DType::kF32);
  SampleData wide;
  Comparison comparison{.name = name};
  for (const Tensor& tensor : data) {
    wide.push_back(is_floating(tensor.dtype()) ? widened(tensor) : tensor);
    comparison.elements += tensor.numel();
    if (is_floating(tensor.dtype())) comparison.amplification = std::max(comparison.amplification, 1 + largest(tensor));
  }
  Context ctx = sample_context(fast, sample, nullptr);
  const Tensor seed = random_tensor(sample.run(ctx, bind_values(sample, data, nullptr)).value.shape(), DType::kF32, 5);
  const SampleResult got = run_with_gradients(fast, sample, sample.run, data, seed);
  const SampleResult again = run_with_gradients(fast, sample, sample.run, data, seed);
  const bool wide_output = got.output.dtype() == DType::kF32;
  const SampleResult want = run_with_gradients(reference, sample, sample.run, wide, wide_output ? widened(seed) : seed);
  comparison.expect("output", got.output, want.output);
  EXPECT_TRUE(same_bits(got.output, again.output)) << name;
  for (std::size_t i = 0; i < got.gradients.size(); ++i) {
    if (!got.gradients[i]) continue;
    comparison.expect("gradient of " + sample.inputs[i].name, got.gradients[i], want.gradients[i]);
    EXPECT_TRUE(same_bits(got.gradients[i], again.gradients[i])) << name;
  }
}

TEST_P(FastRegistry, EveryOpAgreesWithTheReference) {
  std::size_t samples = 0;
  for (const OpSpec& op : all_ops())
    for (const OpSample& sample : op.samples) {
      SCOPED_TRACE(op.name + ": " + sample.name);
      compare(*fast_, *reference_, op.name + ": " + sample.name, sample);
      ++samples;
    }
  EXPECT_GE(samples, all_ops().size());
}

}  // namespace
}  // namespace lockstep
