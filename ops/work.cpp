// SPDX-License-Identifier: Apache-2.0
#include "ops/work.h"

#include "core/error.h"

namespace lockstep {
namespace {

[[noreturn]] void too_large() {
  throw UserError("the network's counts of elements or operations are beyond 2^63\n  analyse a smaller batch or smaller images");
}

std::int64_t sum(std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if (__builtin_add_overflow(a, b, &result)) too_large();
  return result;
}

}  // namespace

Work operator+(const Work& a, const Work& b) {
  return {.weights = sum(a.weights, b.weights),
          .vectors = sum(a.vectors, b.vectors),
          .inputs = sum(a.inputs, b.inputs),
          .outputs = sum(a.outputs, b.outputs),
          .operations = sum(a.operations, b.operations),
          .other_operations = sum(a.other_operations, b.other_operations)};
}

std::int64_t count_product(std::initializer_list<std::int64_t> factors) {
  std::int64_t result = 1;
  for (const std::int64_t factor : factors)
    if (__builtin_mul_overflow(result, factor, &result)) too_large();
  return result;
}

Work elementwise_work(const Shape& x, std::int64_t operations_each) {
  return {.inputs = x.numel(), .outputs = x.numel(), .other_operations = count_product({x.numel(), operations_each})};
}

}  // namespace lockstep
