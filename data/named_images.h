// NamedImages: image files that somebody names one by one, as a Source without labels.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "data/source.h"

namespace lockstep {

class NamedImages final : public Source {
 public:
  // 1 or more paths. channels 3: RGB; 1: the luminance, as Pillow's convert("L") rounds it. Nothing is read yet.
  NamedImages(std::vector<std::string> paths, int channels);

  std::int64_t size() const override { return static_cast<std::int64_t>(paths_.size()); }
  int classes() const override { return 1; }
  int label(std::int64_t) const override { return 0; }
  int channels() const override { return channels_; }
  int height() const override { return 0; }
  int width() const override { return 0; }
  Image read(std::int64_t index, ReadScratch& scratch) const override;
  bool encoded() const override { return channels_ == 3; }  // grey images are made here, from the whole picture
  std::span<const std::uint8_t> fetch(std::int64_t index, ReadScratch& scratch) const override;
  std::string name(std::int64_t index) const override { return paths_[static_cast<std::size_t>(index)]; }
  std::string describe() const override;
  std::string digest() const override;  // over the paths

 private:
  std::vector<std::string> paths_;
  int channels_;
};

}  // namespace lockstep
