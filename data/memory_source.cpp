// SPDX-License-Identifier: Apache-2.0
#include "data/memory_source.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "data/manifest_hash.h"

namespace lockstep {

MemorySource::MemorySource(MemoryImages images)
    : images_(std::move(images)),
      image_bytes_(static_cast<std::size_t>(images_.height) * images_.width * images_.channels) {
  LS_CHECK(images_.pixels.size() == image_bytes_ * images_.labels.size() && !images_.parts.empty(),
           fmt::format("{} bytes of pixels for {} labels", images_.pixels.size(), images_.labels.size()));
}

std::size_t MemorySource::checked(std::int64_t index) const {
  LS_CHECK(index >= 0 && index < size(), fmt::format("sample {} of {}", index, size()));
  return static_cast<std::size_t>(index);
}

int MemorySource::label(std::int64_t index) const { return images_.labels[checked(index)]; }

Image MemorySource::read(std::int64_t index, ReadScratch&) const {
  return {images_.pixels.data() + checked(index) * image_bytes_, images_.height, images_.width, images_.channels};
}

std::string MemorySource::name(std::int64_t index) const {
  const auto after = std::upper_bound(images_.parts.begin(), images_.parts.end(), index,
                                      [](std::int64_t i, const MemoryPart& part) { return i < part.first; });
  const MemoryPart& part = *std::prev(after);
  return fmt::format("{}, image {}", part.file, index - part.first);
}

std::string MemorySource::describe() const {
  return fmt::format("{}: {} images of {}x{}x{}, {} classes ({})", images_.kind, size(), images_.height, images_.width,
                     images_.channels, images_.classes, images_.parts.front().file);
}

std::string MemorySource::digest() const {
  ManifestHash hash(images_.kind);
  for (const int extent : {images_.height, images_.width, images_.channels, images_.classes}) hash.add(extent);
  hash.add_bytes(images_.labels.data(), images_.labels.size());
  hash.add_bytes(images_.pixels.data(), images_.pixels.size());
  return hash.hex();
}

}  // namespace lockstep
