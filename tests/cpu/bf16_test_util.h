// What the tests of 16-bit convolutions and products share: random bf16 tensors and the comparison with the f64 reference on
// the same (exactly widened) values.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "cpu/fast/amx_dispatch.h"
#include "cpu/fast/dnnl_problem.h"
#include "cpu/reference/reference_kernels.h"
#include "ops/conv2d.h"
#include "tests/cpu/fast_test_util.h"

namespace lockstep {

inline Tensor random_bf16(const Shape& shape, std::uint64_t id) {
  const Tensor wide = random_tensor(shape, id);
  Tensor tensor = Tensor::empty(shape, DType::kBF16);
  for (std::size_t i = 0; i < wide.host<float>().size(); ++i) tensor.host<bf16>()[i] = bf16(wide.host<float>()[i]);
  return tensor;
}

// Any of our float dtypes in f64.
inline Tensor exact(const Tensor& tensor) {
  if (tensor.dtype() != DType::kBF16) return widened(tensor);
  Tensor wide = Tensor::empty(tensor.shape(), DType::kF32);
  for (std::size_t i = 0; i < wide.host<float>().size(); ++i)
    wide.host<float>()[i] = static_cast<float>(tensor.host<bf16>()[i]);
  return widened(wide);
}

inline Tensor exact_magnitudes(const Tensor& tensor) {
  Tensor result = exact(tensor);
  for (double& value : result.host<double>()) value = std::fabs(value);
  return result;
}

// got against want (f64): f32 sums of `length` exact products of that total magnitude, then, for bf16, `roundings` roundings
// to bf16 of values no larger than the magnitude of what is rounded: the result itself and, when a product is rounded before
// it is added to what was there, the product (|product| <= |want| + |start|).
inline double bf16_bound(DType got, std::int64_t length, double want, double magnitude, double start, int roundings) {
  const double sums = error_bound(DType::kF32, length, magnitude);
  if (got != DType::kBF16) return sums;
  const double once = error_bound(DType::kBF16, 0, std::fabs(want) + sums);
  return sums + once + (roundings > 1 ? error_bound(DType::kBF16, 0, std::fabs(want) + std::fabs(start) + sums) : 0.0);
}

inline void expect_bf16_close(const std::string& what, const Tensor& got, const Tensor& want, const Tensor& magnitude,
                              std::int64_t length, const Tensor& start = {}) {
  ASSERT_EQ(got.shape(), want.shape()) << what;
  const Tensor values = exact(got);
  const auto g = values.host<double>();
  const auto w = want.host<double>(), m = magnitude.host<double>();
  const Tensor from = start ? exact(start) : Tensor();
  for (std::size_t i = 0; i < g.size(); ++i) {
    const double before = start ? from.host<double>()[i] : 0.0;
    const double bound = bf16_bound(got.dtype(), length, w[i], m[i], before, start ? 2 : 1);
    ASSERT_TRUE(within(g[i], w[i], bound)) << what << ": element " << i << " of " << got.shape().str() << ": got " << g[i]
                                           << ", want " << w[i] << ", bound " << bound;
  }
}

// The bf16 problem of a convolution of x and w.
inline ConvProblem bf16_problem(ConvPass pass, const Shape& x, const Shape& w, const Conv2dParams& params) {
  const Shape y = conv2d_shape(x, w, params);
  return {.pass = pass, .n = x[0], .c = x[1], .h = x[2], .w = x[3], .k = w[0], .r = w[2], .s = w[3],
          .p = y[2], .q = y[3], .stride_h = params.stride.h, .stride_w = params.stride.w, .pad_h = params.pad.h,
          .pad_w = params.pad.w, .dilation_h = params.dilation.h, .dilation_w = params.dilation.w, .groups = params.groups,
          .dtype = DType::kBF16};
}

// For tests of our AMX kernels: skipped where there are none.
class AmxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (kernels_ == nullptr) GTEST_SKIP() << "this processor has no AMX, or LOCKSTEP_SIMD or LOCKSTEP_AMX forbids it";
  }
  const simd::AmxKernels* kernels_ = select_amx_kernels();
  std::unique_ptr<Kernels> reference_ = make_reference_kernels();
};

}  // namespace lockstep
