// The generic tests: every sample of every registered op, on the reference backend in f64.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cctype>
#include <cstring>
#include <ostream>

#include "cpu/reference/reference_kernels.h"
#include "ops/registry.h"
#include "tests/ops/gradient_check.h"

namespace lockstep {
namespace {

struct SampleCase {
  std::string op;
  OpSample sample;
};

void PrintTo(const SampleCase& value, std::ostream* out) { *out << value.op << ": " << value.sample.name; }

std::vector<SampleCase> all_samples() {
  std::vector<SampleCase> cases;
  for (const OpSpec& op : all_ops())
    for (const OpSample& sample : op.samples) cases.push_back({op.name, sample});
  return cases;
}

std::string case_name(const ::testing::TestParamInfo<SampleCase>& info) {
  std::string name = info.param.op + "_" + info.param.sample.name;
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  return name;
}

bool is_differentiable(const OpSample& sample) {
  return std::any_of(sample.inputs.begin(), sample.inputs.end(), [](const SampleInput& i) { return lockstep::is_differentiable(i); });
}

class EveryOp : public ::testing::TestWithParam<SampleCase> {
 protected:
  std::unique_ptr<Kernels> kernels_ = make_reference_kernels();
};

void expect_gradients(Kernels& kernels, const OpSample& sample, CallMode mode) {
  if (!is_differentiable(sample)) {  // then nothing may be recorded
    Tape tape;
    Context ctx = sample_context(kernels, sample, &tape);
    EXPECT_FALSE(sample.run(ctx, bind_values(sample, draw_sample(kernels, sample, DType::kF64), &tape)).requires_grad());
    EXPECT_EQ(tape.size(), 0u);
    return;
  }
  const SampleRun run = call_mode(sample, mode);
  const SampleData data = draw_sample(kernels, sample, DType::kF64);
  const Differences wanted = differences(kernels, sample, run, data);
  const SampleResult got = run_with_gradients(kernels, sample, run, data, wanted.seed);
  ASSERT_FALSE(wanted.all.empty());
  const std::string report = compare_gradients(sample, got.gradients, wanted);
  EXPECT_TRUE(report.empty()) << report;
}

TEST_P(EveryOp, GradientsAgreeWithDifferences) { expect_gradients(*kernels_, GetParam().sample, CallMode::kOnce); }

TEST_P(EveryOp, GradientsOfTwoUsesAddUp) { expect_gradients(*kernels_, GetParam().sample, CallMode::kTwice); }

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() && (a.nbytes() == 0 || std::memcmp(a.ptr(), b.ptr(), a.nbytes()) == 0);
}

TEST_P(EveryOp, TwoRunsGiveTheSameBits) {
  const OpSample& sample = GetParam().sample;
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    const SampleData data = draw_sample(*kernels_, sample, dtype);
    Context ctx = sample_context(*kernels_, sample, nullptr);
    const Tensor y = sample.run(ctx, bind_values(sample, data, nullptr)).value;
    const Tensor seed = random_tensor(y.shape(), y.dtype(), 5);
    const SampleResult a = run_with_gradients(*kernels_, sample, sample.run, data, seed);
    const SampleResult b = run_with_gradients(*kernels_, sample, sample.run, data, seed);
    EXPECT_TRUE(same_bits(a.output, y)) << "recording changes the result";
    EXPECT_TRUE(same_bits(a.output, b.output));
    for (std::size_t i = 0; i < a.gradients.size(); ++i) {
      if (!a.gradients[i]) continue;
      EXPECT_TRUE(same_bits(a.gradients[i], b.gradients[i])) << sample.inputs[i].name;
    }
  }
}

TEST_P(EveryOp, LeavesItsInputsAlone) {
  const OpSample& sample = GetParam().sample;
  const SampleData data = draw_sample(*kernels_, sample, DType::kF64);
  SampleData before;
  for (const Tensor& tensor : data) before.push_back(tensor.clone());
  Context ctx = sample_context(*kernels_, sample, nullptr);
  const Tensor y = sample.run(ctx, bind_values(sample, data, nullptr)).value;
  run_with_gradients(*kernels_, sample, sample.run, data, random_tensor(y.shape(), y.dtype(), 5));
  for (std::size_t i = 0; i < data.size(); ++i) EXPECT_TRUE(same_bits(data[i], before[i])) << sample.inputs[i].name;
}

INSTANTIATE_TEST_SUITE_P(Registry, EveryOp, ::testing::ValuesIn(all_samples()), case_name);

TEST(Registry, OpsAndSamplesHaveUniqueNames) {
  std::map<std::string, int> ops;
  for (const OpSpec& op : all_ops()) {
    EXPECT_EQ(++ops[op.name], 1) << op.name;
    EXPECT_FALSE(op.samples.empty()) << op.name;
    std::map<std::string, int> samples;
    for (const OpSample& sample : op.samples) EXPECT_EQ(++samples[sample.name], 1) << op.name << ": " << sample.name;
  }
}

}  // namespace
}  // namespace lockstep
