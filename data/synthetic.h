// Synthetic images: a class is a coarse pattern of colours, a sample is its class's pattern, a change of brightness
// and noise. All of it is a function of (seed, split, index), so every host has the same set; and it can be learnt.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "data/source.h"

namespace lockstep {

class SyntheticSource final : public Source {
 public:
  explicit SyntheticSource(const SourceOptions& options);  // throws UserError(kUsage) for sizes out of range
  std::int64_t size() const override { return options_.size; }
  int classes() const override { return options_.classes; }
  int label(std::int64_t index) const override;  // balanced: index % classes
  int channels() const override { return options_.channels; }
  int height() const override { return options_.height; }
  int width() const override { return options_.width; }
  Image read(std::int64_t index, ReadScratch& scratch) const override;
  std::string name(std::int64_t index) const override;
  std::string describe() const override;
  std::string digest() const override;

 private:
  SourceOptions options_;
  std::vector<std::uint8_t> patterns_;  // (classes, kCells, kCells, channels)
  std::vector<std::uint8_t> noise_;     // a long stretch from which each row takes a piece
};

}  // namespace lockstep
