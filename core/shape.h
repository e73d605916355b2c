// Shape: up to five extents. Images are (N, C, H, W), filters (K, C/groups, R, S), matrices (rows, columns).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace lockstep {

class Shape {
 public:
  static constexpr int kMaxRank = 5;

  Shape() = default;  // rank 0: one element (a scalar)
  Shape(std::initializer_list<std::int64_t> dims);

  int rank() const { return rank_; }
  // Negative axes count from the end. An axis out of range is an internal error.
  std::int64_t operator[](int axis) const { return dims_[checked(axis)]; }
  void set(int axis, std::int64_t extent) { dims_[checked(axis)] = extent; }
  std::int64_t numel() const;  // product of the extents; an overflow is a user error
  std::string str() const;     // "(2, 3, 224, 224)"
  bool operator==(const Shape& other) const;

 private:
  std::size_t checked(int axis) const;

  std::array<std::int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

}  // namespace lockstep
