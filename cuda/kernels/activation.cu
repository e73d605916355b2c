// Activations beside ReLU: x is read and y written once; backward reads dy and x or y.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "cuda/kernels/elementwise.h"
#include "cuda/kernels/map.h"

namespace lockstep::cuda {
namespace {

using Kind = Activation::Kind;

// NaN stays NaN.
template <Kind kKind>
struct Activate {
  static constexpr int kInputs = 1;
  float a, b;
  LS_DEVICE float operator()(float x) const {
    if constexpr (kKind == Kind::kLeakyRelu) return x <= 0 ? x * a : x;
    if constexpr (kKind == Kind::kTanh) return std::tanh(x);
    if constexpr (kKind == Kind::kSigmoid) {
      const float e = std::exp(x < 0 ? x : -x);
      return (x < 0 ? e : 1.0f) / (1.0f + e);
    }
    if constexpr (kKind == Kind::kThreshold) return x <= a ? b : x;
    return x <= a ? a : x >= b ? b : x;
  }
};

// Of dy and what is kept: x or y.
template <Kind kKind>
struct ActivationGradient {
  static constexpr int kInputs = 2;
  float a, b;
  LS_DEVICE float operator()(float dy, float kept) const {
    if constexpr (kKind == Kind::kLeakyRelu) return kept > 0 ? dy : dy * a;
    if constexpr (kKind == Kind::kTanh) return dy * (1.0f - kept * kept);
    if constexpr (kKind == Kind::kSigmoid) return dy * (kept * (1.0f - kept));
    if constexpr (kKind == Kind::kThreshold) return kept <= a ? 0.0f : dy;
    return kept <= a || kept >= b ? 0.0f : dy;
  }
};

// Limits are rounded to the elements' dtype: a result can then be told from what lies beyond a limit.
template <class T>
float setting(const Activation& function, double value) {
  const float narrow = static_cast<float>(value);
  return function.kind == Kind::kLeakyRelu ? narrow : to_float(from_float<T>(narrow));
}

// call(Op<kind>{a, b}) for the function's kind.
template <template <Kind> class Op, class T, class Call>
void with_kind(const Activation& f, Call call) {
  const float a = setting<T>(f, f.a), b = setting<T>(f, f.b);
  switch (f.kind) {
    case Kind::kLeakyRelu: return call(Op<Kind::kLeakyRelu>{a, b});
    case Kind::kTanh: return call(Op<Kind::kTanh>{a, b});
    case Kind::kSigmoid: return call(Op<Kind::kSigmoid>{a, b});
    case Kind::kThreshold: return call(Op<Kind::kThreshold>{a, b});
    case Kind::kClamp: return call(Op<Kind::kClamp>{a, b});
  }
}

}  // namespace

void activation_forward(Stream stream, ConstView x, const Activation& function, View y) {
  with_element_type(x.dtype, "activation_forward", [&](auto zero) {
    using T = decltype(zero);
    with_kind<Activate, T>(function, [&](auto op) { map_one(stream, op, x.numel(), x.data<T>(), y.data<T>(), GradMode::kOverwrite); });
  });
}

void activation_backward(Stream stream, ConstView dy, ConstView kept, const Activation& function, View dx, GradMode mode) {
  with_element_type(dy.dtype, "activation_backward", [&](auto zero) {
    using T = decltype(zero);
    with_kind<ActivationGradient, T>(
        function, [&](auto op) { map_pair(stream, op, dy.numel(), dy.data<T>(), kept.data<T>(), dx.data<T>(), mode); });
  });
}

}  // namespace lockstep::cuda
