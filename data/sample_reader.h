// SampleReader: one sample from its id to its place in a batch: read, decode, augment; and what happens to a bad one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "data/augment.h"
#include "data/bad_samples.h"
#include "data/source.h"

namespace lockstep {

// One thread's buffers.
struct SampleScratch {
  ReadScratch read;
  ResizeScratch resize;
};

class SampleReader {
 public:
  // `source` must outlive the reader. `bad` null: a bad sample is an error (evaluation).
  SampleReader(const Source& source, const AugmentOptions& options, std::uint64_t seed, BadSamples* bad);

  // Writes the pixels of sample `id` in `epoch` to `out` and returns the id that was really read: `id`, or for a bad
  // sample the next good one, id + 1, id + 2, ... modulo the set's size. Thread-safe; blocks on the disk.
  std::int64_t read(std::int64_t id, std::int64_t epoch, SampleScratch& scratch, std::uint8_t* out) const;

  int height() const { return options_.out_height; }
  int width() const { return options_.out_width; }
  int channels() const { return source_.channels(); }
  std::int64_t image_bytes() const { return std::int64_t{1} * height() * width() * channels(); }
  int label(std::int64_t id) const { return source_.label(id); }

 private:
  void check_fit(std::int64_t id, int height, int width) const;
  void read_one(std::int64_t id, std::int64_t epoch, SampleScratch& scratch, std::uint8_t* out) const;

  const Source& source_;
  AugmentOptions options_;
  std::uint64_t seed_;
  BadSamples* bad_;
};

}  // namespace lockstep
