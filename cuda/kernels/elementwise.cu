// Elementwise kernels: each operand is read once and the result written once. Bytes per element: sizeof(T) times the operands
// that are read (one more when accumulating), plus the result's.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/elementwise.h"

#include <bit>

#include "core/error.h"
#include "cuda/kernels/map.h"

namespace lockstep::cuda {
namespace {

struct Relu {
  static constexpr int kInputs = 1;
  LS_DEVICE float operator()(float x) const { return x <= 0 ? 0.0f : x; }  // NaN stays NaN
};
struct ReluGradient {  // of dy and y
  static constexpr int kInputs = 2;
  LS_DEVICE float operator()(float dy, float y) const { return y > 0 ? dy : 0.0f; }
};
struct Sum {
  static constexpr int kInputs = 2;
  template <class Number>
  LS_DEVICE Number operator()(Number a, Number b) const {
    return a + b;
  }
};
struct Same {
  static constexpr int kInputs = 1;
  template <class Number>
  LS_DEVICE Number operator()(Number x) const {
    return x;
  }
};
struct Times {  // a factor that lies on the device
  static constexpr int kInputs = 1;
  const float* factor;
  LS_DEVICE float operator()(float x) const { return x * *factor; }
};
template <class T>
struct Multiply {
  static constexpr int kInputs = 1;
  T factor;
  LS_DEVICE T operator()(T x) const { return x * factor; }
};
template <class T>
struct Divide {
  static constexpr int kInputs = 1;
  T divisor;
  LS_DEVICE T operator()(T x) const { return x / divisor; }
};

template <class T>
void divide(Stream stream, T* values, std::int64_t numel, std::int64_t divisor) {
  const T d = static_cast<T>(divisor);
  if (std::has_single_bit(static_cast<std::uint64_t>(divisor)))  // its reciprocal is exact
    map_one(stream, Multiply<T>{1 / d}, numel, values, values, GradMode::kOverwrite);
  else
    map_one(stream, Divide<T>{d}, numel, values, values, GradMode::kOverwrite);
}

}  // namespace

void relu_forward(Stream stream, ConstView x, View y) {
  with_element_type(x.dtype, "relu_forward", [&](auto zero) {
    using T = decltype(zero);
    map_one(stream, Relu{}, x.numel(), x.data<T>(), y.data<T>(), GradMode::kOverwrite);
  });
}

void relu_backward(Stream stream, ConstView dy, ConstView y, View dx, GradMode mode) {
  with_element_type(dy.dtype, "relu_backward", [&](auto zero) {
    using T = decltype(zero);
    map_pair(stream, ReluGradient{}, dy.numel(), dy.data<T>(), y.data<T>(), dx.data<T>(), mode);
  });
}

void add(Stream stream, ConstView a, ConstView b, View y) {
  with_floating_type(a.dtype, "add", [&](auto zero) {
    using T = decltype(zero);
    map_pair(stream, Sum{}, a.numel(), a.data<T>(), b.data<T>(), y.data<T>(), GradMode::kOverwrite);
  });
}

void accumulate(Stream stream, ConstView src, View dst, GradMode mode) {
  LS_CHECK(src.dtype == dst.dtype, "accumulate of two dtypes");
  convert_accumulate(stream, src, dst, mode);
}

void convert(Stream stream, ConstView src, View dst) { convert_accumulate(stream, src, dst, GradMode::kOverwrite); }

void convert_accumulate(Stream stream, ConstView src, View dst, GradMode mode) {
  LS_CHECK(src.numel() == dst.numel(), "convert " + src.shape.str() + " into " + dst.shape.str());
  with_floating_type(src.dtype, "convert", [&](auto from) {
    with_floating_type(dst.dtype, "convert", [&](auto to) {
      map_one(stream, Same{}, src.numel(), src.data<decltype(from)>(), dst.data<decltype(to)>(), mode);
    });
  });
}

void scale(Stream stream, ConstView x, ConstView factor, View y, GradMode mode) {
  with_element_type(x.dtype, "scale", [&](auto zero) {
    using T = decltype(zero);
    map_one(stream, Times{factor.data<float>()}, x.numel(), x.data<T>(), y.data<T>(), mode);
  });
}

void add_arrays(Stream stream, DType dtype, void* sum, const void* a, const void* b, std::int64_t numel) {
  LS_CHECK(dtype == DType::kF32 || dtype == DType::kF64, "reduction of " + std::string(dtype_name(dtype)) + "; only f32 and f64 are reduced");
  if (dtype == DType::kF32)
    map_pair(stream, Sum{}, numel, static_cast<const float*>(a), static_cast<const float*>(b), static_cast<float*>(sum), GradMode::kOverwrite);
  else
    map_pair(stream, Sum{}, numel, static_cast<const double*>(a), static_cast<const double*>(b), static_cast<double*>(sum), GradMode::kOverwrite);
}

void divide_array(Stream stream, DType dtype, void* values, std::int64_t numel, std::int64_t divisor) {
  LS_CHECK(dtype == DType::kF32 || dtype == DType::kF64, "division of " + std::string(dtype_name(dtype)) + "; only f32 and f64 are reduced");
  LS_CHECK(divisor > 0, "division by " + std::to_string(divisor));
  if (divisor == 1) return;
  if (dtype == DType::kF32)
    divide(stream, static_cast<float*>(values), numel, divisor);
  else
    divide(stream, static_cast<double*>(values), numel, divisor);
}

}  // namespace lockstep::cuda
