// SampleReader: one sample from its id to its place in a batch: read, decode, augment; and what happens to a bad one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "data/augment.h"
#include "data/bad_samples.h"
#include "data/source.h"

namespace lockstep {

// Where a thread's time went, in nanoseconds, added up.
struct StageTimes {
  std::int64_t read_ns = 0;     // bytes from the disk or its cache (sources that aren't encoded: the whole read)
  std::int64_t decode_ns = 0;
  std::int64_t augment_ns = 0;  // crop, resize, flip and all else
  std::int64_t samples = 0;

  StageTimes& operator+=(const StageTimes& other) {
    read_ns += other.read_ns, decode_ns += other.decode_ns, augment_ns += other.augment_ns, samples += other.samples;
    return *this;
  }
};

// One thread's buffers and times.
struct SampleScratch {
  ReadScratch read;
  ResizeScratch resize;
  std::vector<std::uint8_t> colours;
  StageTimes times;
};

class SampleReader {
 public:
  // `source` must outlive the reader. `bad` null: a bad sample is an error (evaluation).
  SampleReader(const Source& source, const AugmentOptions& options, std::uint64_t seed, BadSamples* bad);

  // Writes the pixels of sample `id` in `epoch` to `out` and returns the id that was really read: `id`, or for a bad
  // sample the next good one, id + 1, id + 2, ... modulo the set's size. Thread-safe; blocks on the disk.
  // What is bad is found anew each time, and never remembered: of an encoded image only a window is decoded, so that damage may show
  // in one epoch and not in another, and a result must not depend on the epochs before.
  std::int64_t read(std::int64_t id, std::int64_t epoch, SampleScratch& scratch, std::uint8_t* out) const;

  int height() const { return options_.out_height; }
  int width() const { return options_.out_width; }
  int channels() const { return source_.channels(); }
  std::int64_t image_bytes() const { return std::int64_t{1} * height() * width() * channels(); }
  int label(std::int64_t id) const { return source_.label(id); }
  const Source& source() const { return source_; }

 private:
  void check_fit(std::int64_t id, int height, int width) const;
  // What of the image is needed, in memory, and the draw that goes with it.
  DecodedRegion load(std::int64_t id, RandomStream& random, AugmentDraw& draw, SampleScratch& scratch) const;
  void read_one(std::int64_t id, std::int64_t epoch, SampleScratch& scratch, std::uint8_t* out) const;

  const Source& source_;
  AugmentOptions options_;
  std::uint64_t seed_;
  BadSamples* bad_;
};

}  // namespace lockstep
