// MemorySource: images of one size that all lie in memory. IDX and CIFAR-10 files become one of these.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/source.h"

namespace lockstep {

// A file's part of the set: messages name the file and the place in it.
struct MemoryPart {
  std::string file;
  std::int64_t first = 0;  // index of its first image in the set
};

struct MemoryImages {
  std::string kind;  // "IDX", "CIFAR-10"
  int height = 0, width = 0, channels = 0, classes = 0;
  std::vector<std::uint8_t> pixels;  // (N, H, W, C)
  std::vector<std::uint8_t> labels;  // (N)
  std::vector<MemoryPart> parts;     // ascending, not empty
};

class MemorySource final : public Source {
 public:
  explicit MemorySource(MemoryImages images);
  std::int64_t size() const override { return static_cast<std::int64_t>(images_.labels.size()); }
  int classes() const override { return images_.classes; }
  int label(std::int64_t index) const override;
  int channels() const override { return images_.channels; }
  int height() const override { return images_.height; }
  int width() const override { return images_.width; }
  Image read(std::int64_t index, ReadScratch& scratch) const override;
  std::string name(std::int64_t index) const override;
  std::string describe() const override;
  std::string digest() const override;

 private:
  std::size_t checked(std::int64_t index) const;

  MemoryImages images_;
  std::size_t image_bytes_;
};

}  // namespace lockstep
