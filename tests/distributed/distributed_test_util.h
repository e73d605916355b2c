// What the tests of distributed/ share: data whose sum depends on the order, and an independent model of the fixed tree.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <vector>

#include "core/philox.h"
#include "core/tensor.h"

namespace lockstep::testing {

// Value i of `shard`'s tensor `id`: spread over 12 binary orders of magnitude, so that another order of additions shows.
template <class T>
std::vector<T> shard_values(std::int64_t shard, int id, std::int64_t n) {
  RandomStream random({.seed = 7, .a = static_cast<std::uint32_t>(shard), .b = static_cast<std::uint64_t>(id)});
  std::vector<T> values(static_cast<std::size_t>(n));
  for (T& value : values) value = static_cast<T>(std::ldexp(random.normal(), static_cast<int>(random.below(12))));
  return values;
}

template <class T>
std::vector<T> add(std::vector<T> left, const std::vector<T>& right) {
  for (std::size_t i = 0; i < left.size(); ++i) left[i] += right[i];
  return left;
}

// The sum of shards first .. first + count - 1 as documented: odd groups left to right, groups pairwise. Recursive, unlike
// the code under test.
template <class T>
std::vector<T> tree_sum(std::int64_t first, std::int64_t count, const std::function<std::vector<T>(std::int64_t)>& leaf) {
  if (count % 2 == 0)
    return add(tree_sum<T>(first, count / 2, leaf), tree_sum<T>(first + count / 2, count / 2, leaf));
  std::vector<T> sum = leaf(first);
  for (std::int64_t i = 1; i < count; ++i) sum = add(sum, leaf(first + i));
  return sum;
}

template <class T>
bool same_bits(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

template <class T>
std::int64_t count_different(std::span<const T> a, std::span<const T> b) {
  std::int64_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += std::memcmp(&a[i], &b[i], sizeof(T)) != 0;
  return count;
}

template <class T>
Tensor tensor_of(const std::vector<T>& values) {
  Tensor tensor = Tensor::empty(Shape{static_cast<std::int64_t>(values.size())}, DTypeOf<T>::value);
  std::memcpy(tensor.ptr(), values.data(), tensor.nbytes());
  return tensor;
}

// Runs fn and returns its error's message; empty if it didn't throw an E.
template <class E, class Fn>
std::string message_of(Fn fn) {
  try {
    fn();
  } catch (const E& error) {
    return error.what();
  }
  return {};
}

}  // namespace lockstep::testing
