// SPDX-License-Identifier: Apache-2.0
#include "core/shape.h"

#include <algorithm>

#include "core/error.h"

namespace lockstep {

Shape::Shape(std::initializer_list<std::int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  LS_CHECK(rank_ <= kMaxRank, "Shape: rank " + std::to_string(dims.size()) + ", want at most 5");
  std::copy(dims.begin(), dims.end(), dims_.begin());
}

std::int64_t Shape::numel() const {
  std::int64_t count = 1;
  for (int axis = 0; axis < rank_; ++axis) {
    const std::int64_t extent = dims_[static_cast<std::size_t>(axis)];
    if (extent < 0 || __builtin_mul_overflow(count, extent, &count))
      throw UserError("shape " + str() + ": got a negative extent or more than 2^63 elements");
  }
  return count;
}

std::string Shape::str() const {
  std::string text = "(";
  for (int axis = 0; axis < rank_; ++axis) {
    if (axis > 0) text += ", ";
    text += std::to_string(dims_[static_cast<std::size_t>(axis)]);
  }
  return text + ")";
}

bool Shape::operator==(const Shape& other) const {
  return rank_ == other.rank_ && std::equal(dims_.begin(), dims_.begin() + rank_, other.dims_.begin());
}

std::size_t Shape::checked(int axis) const {
  const int positive = axis < 0 ? axis + rank_ : axis;
  LS_CHECK(positive >= 0 && positive < rank_, "Shape: axis " + std::to_string(axis) + " of " + str());
  return static_cast<std::size_t>(positive);
}

}  // namespace lockstep
