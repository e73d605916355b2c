// Convolution and linear in bf16 against the f64 reference on the same values, on this processor and, in a process of its
// own, as on one without 16-bit instructions.
// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <climits>

#include "cpu/fast/dnnl_adapter.h"
#include "ops/conv2d.h"
#include "tests/cpu/bf16_test_util.h"

namespace lockstep {
namespace {

struct ConvCase {
  Shape x, w;
  Conv2dParams params = {};
};

std::vector<ConvCase> conv_cases() {
  return {{{2, 1, 28, 28}, {16, 1, 3, 3}, {.pad = {1, 1}}},
          {{1, 3, 45, 45}, {64, 3, 7, 7}, {.stride = {2, 2}, .pad = {3, 3}}},
          {{3, 16, 9, 9}, {32, 16, 3, 3}, {.stride = {2, 2}, .pad = {1, 1}}},
          {{2, 17, 7, 7}, {33, 17, 3, 3}, {.pad = {1, 1}}},
          {{2, 17, 7, 7}, {40, 17, 1, 1}, {.stride = {2, 2}}},
          {{2, 64, 7, 7}, {256, 64, 1, 1}},
          {{1, 1024, 3, 3}, {512, 1024, 1, 1}},
          {{1, 1, 1, 1}, {1, 1, 1, 1}},
          {{2, 10, 8, 11}, {13, 10, 3, 2}, {.stride = {2, 1}, .pad = {1, 0}}},
          {{1, 8, 15, 9}, {24, 8, 5, 3}, {.stride = {3, 2}, .pad = {2, 1}, .dilation = {1, 2}}},
          {{2, 12, 7, 7}, {18, 4, 3, 3}, {.pad = {1, 1}, .groups = 3}},
          {{2, 40, 9, 9}, {40, 1, 3, 3}, {.stride = {2, 2}, .pad = {1, 1}, .groups = 40}}};
}

class DnnlBf16 : public ::testing::Test {
 protected:
  // Twice: the same bits, nothing taken from the system.
  Tensor run(const Tensor& output, const std::function<void(Kernels&, Tensor&)>& call) {
    Tensor first = output.clone(), second = output.clone();
    call(*fast_, first);
    const auto allocations = cpu_pool().stats().system_allocations;
    call(*fast_, second);
    EXPECT_EQ(cpu_pool().stats().system_allocations, allocations) << "a warm call took memory from the system";
    EXPECT_TRUE(same_bits(first, second)) << "two calls differ";
    return first;
  }

  std::unique_ptr<Kernels> fast_ = make_fast_kernels(1), reference_ = make_reference_kernels();
};

TEST_F(DnnlBf16, ConvolutionForwardWithAndWithoutBias) {
  for (const auto& [x_shape, w_shape, params] : conv_cases())
    for (const bool biased : {false, true}) {
      const Tensor x = random_bf16(x_shape, 1), w = random_bf16(w_shape, 2), b = random_tensor({w_shape[0]}, 3);
      const Tensor y = run(random_bf16(conv2d_shape(x_shape, w_shape, params), 4), [&](Kernels& k, Tensor& out) {
        k.conv2d_forward(kStream, x, w, biased ? ConstView(b) : ConstView{}, params, out);
      });
      Tensor want = exact(y), size = exact(y);
      const Tensor wide_b = exact(b), size_b = exact_magnitudes(b);
      reference_->conv2d_forward(kStream, exact(x), exact(w), biased ? ConstView(wide_b) : ConstView{}, params, want);
      reference_->conv2d_forward(kStream, exact_magnitudes(x), exact_magnitudes(w), biased ? ConstView(size_b) : ConstView{},
                                 params, size);
      expect_bf16_close("forward " + x_shape.str() + w_shape.str(), y, want, size, w_shape[1] * w_shape[2] * w_shape[3] + 1);
    }
}

TEST_F(DnnlBf16, ConvolutionBackwardData) {
  for (const auto& [x_shape, w_shape, params] : conv_cases())
    for (const GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
      const Tensor start = random_bf16(x_shape, 1), w = random_bf16(w_shape, 2);
      const Tensor dy = random_bf16(conv2d_shape(x_shape, w_shape, params), 3);
      const Tensor dx = run(start, [&](Kernels& k, Tensor& out) { k.conv2d_backward_data(kStream, dy, w, params, out, mode); });
      Tensor want = exact(start), size = exact_magnitudes(start);
      reference_->conv2d_backward_data(kStream, exact(dy), exact(w), params, want, mode);
      reference_->conv2d_backward_data(kStream, exact_magnitudes(dy), exact_magnitudes(w), params, size, mode);
      expect_bf16_close("data " + x_shape.str() + w_shape.str(), dx, want, size,
                        w_shape[0] / params.groups * w_shape[2] * w_shape[3] + 1,
                        mode == GradMode::kAccumulate ? start : Tensor());
    }
}

TEST_F(DnnlBf16, ConvolutionBackwardFilterIsF32) {
  for (const auto& [x_shape, w_shape, params] : conv_cases())
    for (const GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
      const Shape y_shape = conv2d_shape(x_shape, w_shape, params);
      const Tensor x = random_bf16(x_shape, 1), start = random_tensor(w_shape, 2), dy = random_bf16(y_shape, 3);
      const Tensor dw = run(start, [&](Kernels& k, Tensor& out) { k.conv2d_backward_filter(kStream, x, dy, params, out, mode); });
      Tensor want = exact(start), size = exact_magnitudes(start);
      reference_->conv2d_backward_filter(kStream, exact(x), exact(dy), params, want, mode);
      reference_->conv2d_backward_filter(kStream, exact_magnitudes(x), exact_magnitudes(dy), params, size, mode);
      expect_bf16_close("filter " + x_shape.str() + w_shape.str(), dw, want, size, y_shape[0] * y_shape[2] * y_shape[3] + 1);
    }
}

struct LinearCase {
  std::int64_t n, in, out;
};
const LinearCase kLinearCases[] = {{1, 1, 1}, {5, 17, 10}, {64, 64, 10}, {16, 512, 250}, {3, 100, 257}};

TEST_F(DnnlBf16, LinearForwardToBothDtypes) {
  for (const auto& [n, in, out] : kLinearCases)
    for (const DType dtype : {DType::kBF16, DType::kF32}) {
      const Tensor x = random_bf16({n, in}, 1), w = random_bf16({out, in}, 2), b = random_tensor({out}, 3);
      const Tensor y = run(Tensor::zeros({n, out}, dtype), [&](Kernels& k, Tensor& to) { k.linear_forward(kStream, x, w, b, to); });
      Tensor want = exact(y), size = exact(y);
      reference_->linear_forward(kStream, exact(x), exact(w), exact(b), want);
      reference_->linear_forward(kStream, exact_magnitudes(x), exact_magnitudes(w), exact_magnitudes(b), size);
      expect_bf16_close("linear forward", y, want, size, in + 1);
    }
}

// dy in f32 must not be rounded to 16 bits on the way: the bounds are those of f32 sums.
TEST_F(DnnlBf16, LinearBackwardFromBothDtypes) {
  for (const auto& [n, in, out] : kLinearCases)
    for (const DType dtype : {DType::kBF16, DType::kF32})
      for (const GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
        const Tensor x = random_bf16({n, in}, 1), w = random_bf16({out, in}, 2), start = random_tensor({out, in}, 5);
        const Tensor dy = dtype == DType::kF32 ? random_tensor({n, out}, 4) : random_bf16({n, out}, 4);
        const Tensor dx = run(x, [&](Kernels& k, Tensor& to) { k.linear_backward_data(kStream, dy, w, to, mode); });
        const Tensor dw = run(start, [&](Kernels& k, Tensor& to) { k.linear_backward_weight(kStream, x, dy, to, mode); });
        Tensor want_dx = exact(x), dx_size = exact_magnitudes(x), want_dw = exact(start), dw_size = exact_magnitudes(start);
        reference_->linear_backward_data(kStream, exact(dy), exact(w), want_dx, mode);
        reference_->linear_backward_data(kStream, exact_magnitudes(dy), exact_magnitudes(w), dx_size, mode);
        reference_->linear_backward_weight(kStream, exact(x), exact(dy), want_dw, mode);
        reference_->linear_backward_weight(kStream, exact_magnitudes(x), exact_magnitudes(dy), dw_size, mode);
        expect_bf16_close("linear data", dx, want_dx, dx_size, out + 1);
        expect_bf16_close("linear weight", dw, want_dw, dw_size, n + 1);
      }
}

// The bounds see a rounding that is not allowed: dy rounded to bf16 before the product breaks the f32 bound of dw.
TEST_F(DnnlBf16, TheBoundsSeeARoundedOperand) {
  const Tensor x = random_bf16({4, 8}, 1), dy = random_tensor({4, 8}, 2);
  Tensor rounded = Tensor::empty({4, 8}, DType::kBF16), want = Tensor::zeros({8, 8}, DType::kF64), got = want.clone(), size = want.clone();
  for (std::size_t i = 0; i < 32; ++i) rounded.host<bf16>()[i] = bf16(dy.host<float>()[i]);
  reference_->linear_backward_weight(kStream, exact(x), exact(dy), want, GradMode::kOverwrite);
  reference_->linear_backward_weight(kStream, exact(x), exact(rounded), got, GradMode::kOverwrite);
  reference_->linear_backward_weight(kStream, exact_magnitudes(x), exact_magnitudes(dy), size, GradMode::kOverwrite);
  int outside = 0;
  for (std::size_t i = 0; i < 64; ++i)
    outside += within(got.host<double>()[i], want.host<double>()[i], bf16_bound(DType::kF32, 4, 0, size.host<double>()[i], 0, 1)) ? 0 : 1;
  EXPECT_GT(outside, 32);
}

// LOCKSTEP_TEST_BF16: what bf16_support must say, set by the test below in the process that it starts.
TEST_F(DnnlBf16, SaysHowItComputes) {
  const char* wanted = std::getenv("LOCKSTEP_TEST_BF16");
  DnnlAdapter adapter(1);
  const bool converted = bf16_support() == "converted: f32 kernels";
  if (wanted != nullptr) {
    EXPECT_EQ(bf16_support(), wanted);
  }
  const ConvProblem conv{.n = 2, .c = 64, .h = 7, .w = 7, .k = 64, .r = 3, .s = 3, .p = 7, .q = 7, .pad_h = 1, .pad_w = 1, .dtype = DType::kBF16};
  const MatmulProblem product{.m = 8, .n = 8, .k = 8, .dtype = DType::kBF16};
  EXPECT_EQ(adapter.implementation(conv).starts_with("f32: "), converted) << adapter.implementation(conv);
  EXPECT_EQ(adapter.implementation(product).starts_with("f32: "), converted) << adapter.implementation(product);
}

// oneDNN reads its limit once, at start: the tests above run again in a process of their own.
TEST(DnnlBf16Elsewhere, GivesTheSameWithinBoundsOnOlderProcessors) {
#if defined(__x86_64__)
  if (std::getenv("LOCKSTEP_TEST_BF16") != nullptr) return;
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP() << "this processor has no AVX2";
  char self[PATH_MAX] = {};
  ASSERT_GT(readlink("/proc/self/exe", self, sizeof self - 1), 0);
  struct Limit {
    const char *isa, *support;
    bool runs;
  };
  const bool avx512 = available_simd().front() == "avx512";
  for (const auto& [isa, support, runs] : {Limit{"AVX2", "converted: f32 kernels", true},
                                           Limit{"AVX512_CORE", "converted: f32 kernels", avx512}}) {
    if (!runs) continue;
    const std::string command = std::string("DNNL_MAX_CPU_ISA=") + isa + " ONEDNN_MAX_CPU_ISA=" + isa +
                                " LOCKSTEP_AMX=0 LOCKSTEP_TEST_BF16='" + support + "' '" + self +
                                "' --gtest_filter='DnnlBf16.*' --gtest_output= > /dev/null";
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
  }
#else
  GTEST_SKIP() << "instruction sets of x86";
#endif
}

}  // namespace
}  // namespace lockstep
