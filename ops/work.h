// Work: what one forward application of an op asks of a machine, on paper: numbers of elements and of operations, from
// shapes alone. How many bits an element has is the reader's choice (planning/analysis.h). Each op states its own: <op>_work,
// beside its shape rule, for inputs that the shape rule takes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>

#include "core/shape.h"

namespace lockstep {

struct Work {
  std::int64_t weights = 0;            // elements of filters and matrices
  std::int64_t vectors = 0;            // elements of biases and of batch norm's scales and biases
  std::int64_t inputs = 0;             // elements of all input activations that are read
  std::int64_t outputs = 0;            // elements of the output that are written
  std::int64_t operations = 0;         // of convolutions and matrix products; a multiplication and an addition are two
  std::int64_t other_operations = 0;   // biases, normalisation, elementwise functions, pooling: one per arithmetic operation

  bool operator==(const Work&) const = default;
};

// Two pieces of work, one after the other. Too large a sum is a UserError.
Work operator+(const Work& a, const Work& b);

// The product of counts that are not negative. Throws UserError when it is beyond 2^63: the batch or the image is absurd.
std::int64_t count_product(std::initializer_list<std::int64_t> factors);

// Reads x, writes as many, with so many operations for each.
Work elementwise_work(const Shape& x, std::int64_t operations_each);

}  // namespace lockstep
