// Elementwise kernels, conversions, dropout and the reducer's sums on the device against the f64 reference: odd sizes, addresses
// that fit no 16-byte access, both gradient modes, the aliasing that the contract allows.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/elementwise.h"

#include <bit>

#include "cpu/reference/reference_kernels.h"
#include "cuda/philox.h"
#include "ops/step_control.h"
#include "tests/cuda/host_tensors.h"

namespace lockstep {
namespace {

using namespace host_tensors;

struct Case {
  Shape shape;
  DType dtype;
  Place place;
  Tensor random(std::uint64_t id) const { return random_host(shape, id, dtype); }
  Tensor put(const Tensor& host) const { return on_gpu_at(host, place); }
};
// Below, at and above a pack and a block.
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Shape& shape : {Shape{0}, Shape{1}, Shape{7}, Shape{8}, Shape{37}, Shape{2, 3, 5, 7}, Shape{20001}})
    for (const DType dtype : kActivationTypes)
      for (const Place place : kPlaces) all.push_back({shape, dtype, place});
  return all;
}

class CudaElementwise : public ::testing::Test {
 protected:
  const std::unique_ptr<Kernels> reference_ = make_reference_kernels();
  const Stream stream_ = gpu_stream();
};

TEST_F(CudaElementwise, ReluKeepsNaNAndMayWriteOverItsInput) {
  for (const Case& c : cases()) {
    Tensor x = c.random(1);
    if (x.numel() > 0) set_value(x, 0, std::nan(""));
    Tensor want = widened(x), in_place = c.put(x);
    const Tensor input = c.put(x);
    const Tensor y = run_twice(c.random(3), [&](Tensor& out) { cuda::relu_forward(stream_, input, out); }, c.place);
    reference_->relu_forward({}, widened(x), want);
    for (std::size_t i = 0; i < size_of(y); ++i) ASSERT_TRUE(within(value_of(y, i), want.host<double>()[i], 0)) << i;
    cuda::relu_forward(stream_, in_place, in_place);
    EXPECT_TRUE(same_bits(y, to_host(in_place)));
  }
}

TEST_F(CudaElementwise, ReluBackwardPassesWhereTheOutputIsPositive) {
  for (const Case& c : cases())
    for (const GradMode mode : kModes) {
      const Tensor dy = c.random(1), start = c.random(3);
      Tensor y = c.random(2);
      if (y.numel() > 0) set_value(y, 0, 0);
      const Tensor gradient = c.put(dy), output = c.put(y);
      const Tensor dx = run_twice(start, [&](Tensor& out) { cuda::relu_backward(stream_, gradient, output, out, mode); }, c.place);
      Tensor want = widened(start);
      reference_->relu_backward({}, widened(dy), widened(y), want, mode);
      expect_close("relu backward", dx, want, magnitudes(want), 1);
      if (mode == GradMode::kAccumulate) continue;
      Tensor over = c.put(dy);
      cuda::relu_backward(stream_, over, output, over, mode);
      EXPECT_TRUE(same_bits(dx, to_host(over)));
    }
}

TEST_F(CudaElementwise, AddMayWriteOverEitherInput) {
  for (const Case& c : cases()) {
    const Tensor a = c.random(1), b = c.random(2), left = c.put(a), right = c.put(b);
    Tensor want = widened(a), over_a = c.put(a), over_b = c.put(b);
    const Tensor sum = run_twice(c.random(3), [&](Tensor& out) { cuda::add(stream_, left, right, out); }, c.place);
    reference_->add({}, widened(a), widened(b), want);
    expect_close("add", sum, want, magnitudes(want), 1);
    cuda::add(stream_, over_a, right, over_a);
    cuda::add(stream_, left, over_b, over_b);
    EXPECT_TRUE(same_bits(sum, to_host(over_a)) && same_bits(sum, to_host(over_b)));
  }
}

TEST_F(CudaElementwise, ScaleAndAccumulate) {
  const Tensor factor = filled({}, -1.7), gpu_factor = on_gpu(factor);
  for (const Case& c : cases())
    for (const GradMode mode : kModes) {
      const Tensor a = c.random(1), b = c.random(2), source = c.put(b);
      const Tensor scaled = run_twice(a, [&](Tensor& out) { cuda::scale(stream_, source, gpu_factor, out, mode); }, c.place);
      const Tensor copied = run_twice(a, [&](Tensor& out) { cuda::accumulate(stream_, source, out, mode); }, c.place);
      Tensor scaled64 = widened(a), copied64 = widened(a), size = magnitudes(a);
      reference_->scale({}, widened(b), widened(factor), scaled64, mode);
      reference_->accumulate({}, widened(b), copied64, mode);
      reference_->scale({}, magnitudes(b), magnitudes(factor), size, mode);
      expect_close("scale", scaled, scaled64, size, 2);
      expect_close("accumulate", copied, copied64, magnitudes(copied64), 1);
      if (mode == GradMode::kOverwrite) {
        EXPECT_TRUE(same_bits(copied, b));
        Tensor over = c.put(b);
        cuda::scale(stream_, over, gpu_factor, over, mode);
        EXPECT_TRUE(same_bits(scaled, to_host(over)));
      }
    }
}

TEST_F(CudaElementwise, PhiloxIsCores) {
  const RandomKey odd{.seed = 0x123456789abcdefull, .purpose = RandomPurpose::kDropout, .a = 0xfffffff0u, .b = 0x500000003ull};
  for (const RandomKey& key : {RandomKey{}, odd})
    for (const std::uint32_t step : {0u, 1u, 100u})
      for (const std::uint32_t index : {0u, 7u, 0xffffffffu}) {
        RandomKey at_step = key;
        at_step.a += step;
        const PhiloxBlock want = at_step.block(index);
        const cuda::PhiloxWords got = cuda::PhiloxStream(key).block(index, step);
        for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(got.at[i], want[i]);
      }
}

TEST_F(CudaElementwise, DropoutKeepsExactlyWhatTheReferenceKeeps) {
  const RandomKey key{.seed = 0x123456789abcdefull, .purpose = RandomPurpose::kDropout, .a = 77, .b = 0x500000003ull};
  for (const Case& c : cases())
    for (const double p : {0.0, 0.1, 0.5, 0.999})
      for (const GradMode mode : kModes) {
        const Tensor x = c.random(1), start = c.random(2), input = c.put(x);
        const Tensor y = run_twice(start, [&](Tensor& out) { cuda::dropout(stream_, input, p, key, {}, out, mode); }, c.place);
        Tensor want = widened(start), size = magnitudes(start);
        reference_->dropout({}, widened(x), p, key, want, mode);
        reference_->dropout({}, magnitudes(x), p, key, size, mode);
        expect_close("dropout", y, want, size, 3);
      }
}

TEST_F(CudaElementwise, DropoutDrawsWithTheControlsStep) {
  const Tensor x = filled({1003}, 1), input = on_gpu(x);
  const RandomKey key{.seed = 5, .purpose = RandomPurpose::kDropout, .a = 0xffffffffu, .b = 9};
  Tensor bytes = Tensor::zeros({sizeof(StepControl)}, DType::kU8);
  std::vector<Tensor> masks;
  for (const std::uint64_t step : {0ull, 1ull, 12345ull}) {
    StepControl control;
    control.step = step;
    std::memcpy(bytes.ptr(), &control, sizeof control);
    Tensor on_device = on_gpu(bytes), y = empty_on_gpu(x.shape(), DType::kF32);
    cuda::dropout(stream_, input, 0.5, key, on_device, y, GradMode::kOverwrite);
    RandomKey at_step = key;
    at_step.a += static_cast<std::uint32_t>(step);
    Tensor want = widened(x);
    reference_->dropout({}, widened(x), 0.5, at_step, want, GradMode::kOverwrite);
    masks.push_back(to_host(y));
    expect_close("dropout at a step", masks.back(), want, want, 2);
  }
  EXPECT_FALSE(same_bits(masks[0], masks[1]));
}

// All 2^16 upper halves with lower halves around the ties of bf16 and f16, NaN and infinities among them.
TEST_F(CudaElementwise, ConversionsAreThoseOfTheDtype) {
  constexpr std::uint32_t kLow[] = {0, 0x0fff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001, 0xffff};
  Tensor x = Tensor::empty({65536, 8}, DType::kF32);
  for (std::uint32_t i = 0; i < 65536 * 8; ++i) x.host<float>()[i] = std::bit_cast<float>((i / 8) << 16 | kLow[i % 8]);
  const Tensor input = on_gpu(x);
  Tensor narrow = empty_on_gpu(x.shape(), DType::kBF16), half = empty_on_gpu(x.shape(), DType::kF16), back = empty_on_gpu(x.shape(), DType::kF32);
  cuda::convert(stream_, input, narrow);
  cuda::convert(stream_, input, half);
  cuda::convert(stream_, half, back);
  const Tensor bf16_result = to_host(narrow), f16_result = to_host(half), widened_result = to_host(back);
  for (std::size_t i = 0; i < size_of(x); ++i) {
    const float value = x.host<float>()[i];
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(value_of(bf16_result, i)) && std::isnan(value_of(f16_result, i)) && std::isnan(value_of(widened_result, i))) << i;
      continue;
    }
    ASSERT_EQ(bf16_result.host<bf16>()[i].bits, bf16(value).bits) << value;
    ASSERT_EQ(f16_result.host<f16>()[i].bits, f16(value).bits) << value;
    ASSERT_EQ(widened_result.host<float>()[i], static_cast<float>(f16(value)));
  }
}

TEST_F(CudaElementwise, ConvertsBetweenAllFloatingTypesAtAnySizeAndAddress) {
  constexpr DType kAll[] = {DType::kF64, DType::kF32, DType::kBF16, DType::kF16};
  for (const DType from : kAll)
    for (const DType to : kAll)
      for (const std::int64_t n : {1, 7, 37, 5003})
        for (const Place place : kPlaces)
          for (const GradMode mode : kModes) {
            const Tensor x = random_host({n}, 1, from), start = random_host({n}, 2, to), input = on_gpu_at(x, place);
            const Tensor y = run_twice(start, [&](Tensor& out) { cuda::convert_accumulate(stream_, input, out, mode); }, place);
            Tensor want = start.clone();
            for (std::size_t i = 0; i < size_of(y); ++i) {
              if (mode == GradMode::kOverwrite) {
                set_value(want, i, value_of(x, i));
                ASSERT_EQ(value_of(y, i), value_of(want, i)) << dtype_name(from) << " to " << dtype_name(to);
                continue;
              }
              const double sum = value_of(start, i) + value_of(x, i), size = std::fabs(value_of(x, i)) + std::fabs(value_of(start, i));
              const double bound = to == DType::kF64 ? error_bound(DType::kF64, 1, size) : result_bound(to, 1, size, sum);
              ASSERT_TRUE(within(value_of(y, i), sum, bound)) << dtype_name(from) << " to " << dtype_name(to);
            }
          }
}

// The bits of distributed/vector_add.h: one IEEE operation per element, a power of two by its exact reciprocal.
TEST_F(CudaElementwise, ReductionsAddAndDivideAsTheHostDoes) {
  for (const DType dtype : {DType::kF32, DType::kF64})
    for (const std::int64_t n : {1, 3, 4, 1001})
      for (const Place place : kPlaces) {
        const Tensor a = random_host({n}, 1, dtype), b = random_host({n}, 2, dtype);
        const Tensor right = on_gpu_at(b, place);
        Tensor want = a.clone();
        for (std::size_t i = 0; i < size_of(a); ++i) set_value(want, i, value_of(a, i) + value_of(b, i));  // f32 sums: exact in f64, then rounded
        const Tensor sum = run_twice(a, [&](Tensor& out) { cuda::add_arrays(stream_, dtype, out.ptr(), out.ptr(), right.ptr(), n); }, place);
        EXPECT_TRUE(same_bits(sum, want));
        for (const std::int64_t divisor : {1, 3, 8, 48}) {
          const Tensor mean = run_twice(a, [&](Tensor& out) { cuda::divide_array(stream_, dtype, out.ptr(), n, divisor); }, place);
          for (std::size_t i = 0; i < size_of(a); ++i) {
            if (dtype == DType::kF32)
              ASSERT_EQ(mean.host<float>()[i], a.host<float>()[i] / static_cast<float>(divisor)) << divisor;
            else
              ASSERT_EQ(mean.host<double>()[i], a.host<double>()[i] / static_cast<double>(divisor)) << divisor;
          }
        }
      }
}

TEST_F(CudaElementwise, WhatTheGpuCannotComputeThrowsByName) {
  const Tensor x = on_gpu(filled({4}, 1, DType::kF64));
  Tensor y = empty_on_gpu({4}, DType::kF64);
  const std::string message = message_of<EnvironmentError>([&] { cuda::relu_forward(stream_, x, y); });
  EXPECT_NE(message.find("relu_forward in f64"), std::string::npos) << message;
}

}  // namespace
}  // namespace lockstep
