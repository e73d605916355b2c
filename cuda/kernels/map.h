// Elementwise kernels over packs: y[i] = op(a[i] [, b[i]]), or += it. Inside kernels/*.cu only.
//
// A thread takes N consecutive elements, 16 bytes of the narrowest operand: one 16-byte access per operand where all are
// aligned and the pack is whole, element by element otherwise. A thread reads all of its elements before it writes any, so y may
// be a or b. Arithmetic is f32, or f64 where an operand is f64; the result is rounded once.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "core/tape.h"
#include "cuda/numeric.h"

namespace lockstep::cuda {

LS_DEVICE double to_number(double value) { return value; }
template <class T>
LS_DEVICE float to_number(T value) {
  return to_float(value);
}
template <class T, class Number>
LS_DEVICE T from_number(Number value) {
  if constexpr (std::is_same_v<T, double>)
    return static_cast<double>(value);
  else
    return from_float<T>(static_cast<float>(value));
}

// Elements [begin, begin + N) of `n`; `whole`: all are there, and aligned. Those beyond n are 0.
template <int N, class T>
LS_DEVICE Pack<T, N> read_pack(const T* from, std::int64_t begin, std::int64_t n, bool whole) {
  if (whole) return load_pack<T, N>(from + begin);
  Pack<T, N> pack{};
  for (int j = 0; j < N; ++j)
    if (begin + j < n) pack.at[j] = from[begin + j];
  return pack;
}
template <int N, class T>
LS_DEVICE void write_pack(T* to, std::int64_t begin, std::int64_t n, bool whole, const Pack<T, N>& pack) {
  if (whole) return store_pack<T, N>(to + begin, pack);
  for (int j = 0; j < N; ++j)
    if (begin + j < n) to[begin + j] = pack.at[j];
}

template <int N, class T>
bool packs_aligned(const T* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer) % (sizeof(T) * N) == 0;
}

// Op: kInputs (1 or 2) and LS_DEVICE operator()(number of a [, number of b]).
template <class Op, int N, class A, class B, class Y>
struct MapPacks {
  Op op;
  std::int64_t n;
  bool aligned, accumulate;
  const A* a;
  const B* b;
  Y* y;

  LS_DEVICE void operator()(std::int64_t i) const {
    const std::int64_t begin = i * N;
    const bool whole = aligned && begin + N <= n;
    const Pack<A, N> left = read_pack<N>(a, begin, n, whole);
    Pack<B, N> right{};
    if constexpr (Op::kInputs == 2) right = read_pack<N>(b, begin, n, whole);
    Pack<Y, N> result{};
    if (accumulate) result = read_pack<N>(y, begin, n, whole);
    for (int j = 0; j < N; ++j) {
      auto value = [&] {
        if constexpr (Op::kInputs == 2)
          return op(to_number(left.at[j]), to_number(right.at[j]));
        else
          return op(to_number(left.at[j]));
      }();
      result.at[j] = accumulate ? from_number<Y>(to_number(result.at[j]) + value) : from_number<Y>(value);
    }
    write_pack<N>(y, begin, n, whole, result);
  }
};

template <class Op, class A, class B, class Y>
void map_pair(Stream stream, Op op, std::int64_t n, const A* a, const B* b, Y* y, GradMode mode) {
  constexpr int kNarrowest = static_cast<int>(sizeof(A) < sizeof(Y) ? sizeof(A) : sizeof(Y));
  constexpr int kN = 16 / kNarrowest;
  const bool aligned = packs_aligned<kN>(a) && packs_aligned<kN>(b) && packs_aligned<kN>(y);
  for_each_index(stream, blocks_for(n, kN), MapPacks<Op, kN, A, B, Y>{op, n, aligned, mode == GradMode::kAccumulate, a, b, y});
}
template <class Op, class A, class Y>
void map_one(Stream stream, Op op, std::int64_t n, const A* a, Y* y, GradMode mode) {
  static_assert(Op::kInputs == 1);
  map_pair(stream, op, n, a, a, y, mode);
}

// Calls function(T{}) with T = double, float, bf16 or f16: for conversions and sums.
template <class Function>
void with_floating_type(DType dtype, const char* what, Function function) {
  if (dtype == DType::kF64) return function(double{});
  with_element_type(dtype, what, function);
}

}  // namespace lockstep::cuda
