// Activations beside ReLU: elementwise, forward and backward. NaN stays NaN.
// SPDX-License-Identifier: Apache-2.0

// (1 - e^-2|x|) / (1 + e^-2|x|), with x's sign: as exact near 0 as elsewhere.
inline vf tanh_of(vf x) {
  const vf e = expm1_nonpositive(magnitude(x) * splat(-2.0f));
  return with_sign_of(e / (e + splat(2.0f)), x);
}

inline vf sigmoid_of(vf x) {
  const vf e = exp_nonpositive(-magnitude(x)), one = splat(1.0f);
  return (x >= vf{} ? one : e) / (one + e);
}

template <class T, class F>
inline void map_units(const T* x, T* y, std::int64_t n, const F& f) {
  for_units<T>(n, [&](std::int64_t i, auto span) { put(y + i, each<T>(f, get(x + i, span)), span); });
}

template <class T>
[[gnu::flatten]] void activate(const Activation& f, const T* x, T* y, std::int64_t n) {
  const vf a = splat(f.a), b = splat(f.b);
  switch (f.kind) {
    case Activation::Kind::kLeakyRelu: return map_units(x, y, n, [=](vf v) { return v <= vf{} ? v * a : v; });
    case Activation::Kind::kTanh: return map_units(x, y, n, [](vf v) { return tanh_of(v); });
    case Activation::Kind::kSigmoid: return map_units(x, y, n, [](vf v) { return sigmoid_of(v); });
    case Activation::Kind::kThreshold: return map_units(x, y, n, [=](vf v) { return v <= a ? b : v; });
    case Activation::Kind::kClamp: return map_units(x, y, n, [=](vf v) { return v <= a ? a : v >= b ? b : v; });
  }
}

// f(dy, kept)
template <class T, class F>
inline void map_gradients(const T* dy, const T* kept, T* dx, std::int64_t n, bool accumulate, const F& f) {
  for_units<T>(n, [&](std::int64_t i, auto span) { put(dx + i, each<T>(f, get(dy + i, span), get(kept + i, span)), span, accumulate); });
}

template <class T>
[[gnu::flatten]] void activate_backward(const Activation& f, const T* dy, const T* kept, T* dx, std::int64_t n, bool accumulate) {
  const vf a = splat(f.a), b = splat(f.b), one = splat(1.0f);
  switch (f.kind) {
    case Activation::Kind::kLeakyRelu:
      return map_gradients(dy, kept, dx, n, accumulate, [=](vf g, vf x) { return x > vf{} ? g : g * a; });
    case Activation::Kind::kTanh: return map_gradients(dy, kept, dx, n, accumulate, [=](vf g, vf y) { return g * (one - y * y); });
    case Activation::Kind::kSigmoid: return map_gradients(dy, kept, dx, n, accumulate, [=](vf g, vf y) { return g * (y * (one - y)); });
    case Activation::Kind::kThreshold: return map_gradients(dy, kept, dx, n, accumulate, [=](vf g, vf x) { return x <= a ? vf{} : g; });
    case Activation::Kind::kClamp:
      return map_gradients(dy, kept, dx, n, accumulate, [=](vf g, vf y) { return (y <= a) | (y >= b) ? vf{} : g; });
  }
}
