// Convolutions with everything that their tests need: tensors on both sides, the f64 reference, and bounds that follow the rounding of
// each step.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "cpu/reference/reference_kernels.h"
#include "ops/conv2d.h"
#include "tests/cuda/host_tensors.h"

namespace lockstep::convolution_tests {

using namespace host_tensors;

inline Kernels& reference() {
  static const std::unique_ptr<Kernels> kernels = make_reference_kernels();
  return *kernels;
}

struct ConvCase {
  Shape x, w;
  Conv2dParams params = {};
};
inline std::string name_of(const ConvCase& c) { return c.x.str() + " " + c.w.str(); }

// Bounds, as tensors of f64: u is the dtype's unit roundoff. Tensor cores cut their partial sums off instead of rounding them, which
// may cost an ulp, twice a rounding, at each addition and always in the same direction.
inline Tensor sum_bound(const Tensor& magnitude, std::int64_t length) {
  return map_f64(magnitude, [=](double m) { return error_bound(DType::kF32, 2 * length, m, ErrorGrowth::kWorstCase); });
}
// `computed` holds bounds of what is then stored in `dtype`.
inline Tensor stored_bound(const Tensor& computed, const Tensor& want, DType dtype) {
  Tensor result = Tensor::empty(computed.shape(), DType::kF64);
  for (std::size_t i = 0; i < size_of(computed); ++i) {
    const double e = value_of(computed, i);
    result.host<double>()[i] = e + error_bound(dtype, 0, std::fabs(value_of(want, i)) + e);
  }
  return result;
}
inline Tensor sum_of(const Tensor& a, const Tensor& b) {
  Tensor result = Tensor::empty(a.shape(), DType::kF64);
  for (std::size_t i = 0; i < size_of(a); ++i) result.host<double>()[i] = value_of(a, i) + value_of(b, i);
  return result;
}

inline void expect_within(const std::string& what, const Tensor& got, const Tensor& want, const Tensor& bound) {
  ASSERT_EQ(got.shape(), want.shape()) << what;
  for (std::size_t i = 0; i < size_of(got); ++i)
    ASSERT_TRUE(within(value_of(got, i), value_of(want, i), value_of(bound, i)))
        << what << " " << dtype_name(got.dtype()) << ": element " << i << " of " << got.shape().str() << ": got " << value_of(got, i)
        << ", want " << value_of(want, i) << ", bound " << value_of(bound, i);
}

// The three convolutions in f64.
inline Tensor forward_f64(const ConvCase& c, const Tensor& x, const Tensor& w, const Tensor& bias = {}) {
  Tensor y = Tensor::empty(conv2d_shape(c.x, c.w, c.params), DType::kF64);
  reference().conv2d_forward({}, x, w, bias, c.params, y);
  return y;
}
inline Tensor data_f64(const ConvCase& c, const Tensor& dy, const Tensor& w) {
  Tensor dx = Tensor::empty(c.x, DType::kF64);
  reference().conv2d_backward_data({}, dy, w, c.params, dx, GradMode::kOverwrite);
  return dx;
}
inline Tensor filter_f64(const ConvCase& c, const Tensor& x, const Tensor& dy) {
  Tensor dw = Tensor::empty(c.w, DType::kF64);
  reference().conv2d_backward_filter({}, x, dy, c.params, dw, GradMode::kOverwrite);
  return dw;
}
inline std::int64_t forward_length(const ConvCase& c) { return c.w[1] * c.w[2] * c.w[3]; }
inline std::int64_t data_length(const ConvCase& c) { return c.w[0] / c.params.groups * c.w[2] * c.w[3]; }
inline std::int64_t filter_length(const ConvCase& c) {
  const Shape y = conv2d_shape(c.x, c.w, c.params);
  return y[0] * y[2] * y[3];
}

// A batch norm's vectors on both sides, and what it makes of x.
struct Norm {
  Tensor mean, inv_std, gamma, beta;  // on the host, f32
  Tensor device_mean, device_inv_std, device_gamma, device_beta;
  explicit Norm(std::int64_t channels)
      : mean(random_host({channels}, 51)), inv_std(random_host({channels}, 52, DType::kF32, 0.5f, 2)),
        gamma(random_host({channels}, 53, DType::kF32, 0.5f, 1.5f)), beta(random_host({channels}, 54)), device_mean(on_gpu(mean)),
        device_inv_std(on_gpu(inv_std)), device_gamma(on_gpu(gamma)), device_beta(on_gpu(beta)) {}
  NormVectors device() const { return {device_mean, device_inv_std, device_gamma, device_beta}; }
  double xhat(double x, std::size_t c) const { return (x - value_of(mean, c)) * value_of(inv_std, c); }
  double normalised(double x, std::size_t c) const { return xhat(x, c) * value_of(gamma, c) + value_of(beta, c); }

  Tensor relu(const Tensor& x) const {
    Tensor z = Tensor::empty(x.shape(), DType::kF64);
    const auto channels = static_cast<std::size_t>(x.shape()[1]);
    for (std::size_t i = 0; i < size_of(x); ++i) z.host<double>()[i] = std::fmax(normalised(value_of(x, i), i % channels), 0);
    return z;
  }
  // How far z may be from relu(x) above, element by element. Scale, bias and z are rounded to `dtype` (u), and a fused engine may
  // round the product x * scale too; everything else is f32.
  Tensor relu_bound(const Tensor& x, DType dtype) const {
    Tensor bound = Tensor::empty(x.shape(), DType::kF64);
    const auto channels = static_cast<std::size_t>(x.shape()[1]);
    for (std::size_t i = 0; i < size_of(x); ++i) {
      const std::size_t c = i % channels;
      const double scale = std::fabs(value_of(inv_std, c) * value_of(gamma, c)), value = value_of(x, i), middle = value_of(mean, c);
      const double bias = std::fabs(value_of(beta, c)) + scale * std::fabs(middle), product = scale * std::fabs(value);
      const double roundings = error_bound(dtype, 0, scale) * std::fabs(value - middle) + error_bound(dtype, 0, bias) +
                               error_bound(dtype, 0, product) + error_bound(dtype, 0, product + bias);
      bound.host<double>()[i] = roundings * (1 + 4 * dtype_epsilon(dtype)) + error_bound(DType::kF32, 4, product + bias, ErrorGrowth::kWorstCase);
    }
    return bound;
  }
};

}  // namespace lockstep::convolution_tests
