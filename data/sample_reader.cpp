// SPDX-License-Identifier: Apache-2.0
#include "data/sample_reader.h"

#include <functional>
#include <span>

#include "core/error.h"
#include "core/trace.h"

namespace lockstep {

SampleReader::SampleReader(const Source& source, const AugmentOptions& options, std::uint64_t seed, BadSamples* bad)
    : source_(source), options_(checked_augment(options, source.height(), source.width(), source.channels())), seed_(seed), bad_(bad) {
  if (source.height() != 0) check_fit(0, source.height(), source.width());  // one size: said now and not by a worker
}

void SampleReader::check_fit(std::int64_t id, int height, int width) const {
  const std::string misfit = augment_misfit(options_, height, width);
  if (!misfit.empty()) throw UserError(source_.name(id) + ": " + misfit);  // kUsage: other options are the cure
}

std::int64_t SampleReader::read(std::int64_t id, std::int64_t epoch, SampleScratch& scratch, std::uint8_t* out) const {
  const std::int64_t size = source_.size();
  for (std::int64_t tries = 0; tries < size; ++tries, id = (id + 1) % size) {
    try {
      read_one(id, epoch, scratch, out);
      return id;
    } catch (const UserError& error) {
      if (bad_ == nullptr || !is_of_the_sample(error)) throw;
      bad_->add({id, source_.name(id), error.what()});
    }
  }
  throw UserError(source_.describe() + ": not one sample can be read.", ExitCode::kData);
}

DecodedRegion SampleReader::load(std::int64_t id, RandomStream& random, AugmentDraw& draw, SampleScratch& scratch) const {
  StageTimes& times = scratch.times;
  const std::int64_t begin = trace_clock_ns();
  const auto choose = [&](int height, int width) {
    check_fit(id, height, width);
    draw = draw_augment(options_, height, width, random);
    return augment_window(options_, draw, height, width);
  };
  if (!source_.encoded()) {
    const TraceScope trace(SpanKind::kLoader, "read", id);
    const Image image = source_.read(id, scratch.read);
    choose(image.height, image.width);
    times.read_ns += trace_clock_ns() - begin;
    return {image, {0, 0, image.height, image.width}, image.height, image.width};
  }
  const std::span<const std::uint8_t> bytes = [&] {
    const TraceScope trace(SpanKind::kLoader, "read", id);
    return source_.fetch(id, scratch.read);
  }();
  const std::int64_t fetched = trace_clock_ns();
  times.read_ns += fetched - begin;
  const TraceScope trace(SpanKind::kLoader, "decode", id);
  const auto name = [this, id] { return source_.name(id); };
  const DecodedRegion region = decode_region(bytes, name, std::ref(choose), scratch.read);  // std::ref: takes no memory
  times.decode_ns += trace_clock_ns() - fetched;
  return region;
}

void SampleReader::read_one(std::int64_t id, std::int64_t epoch, SampleScratch& scratch, std::uint8_t* out) const {
  RandomStream random = augment_stream(seed_, epoch, id);
  AugmentDraw draw;
  const DecodedRegion region = load(id, random, draw, scratch);
  const std::int64_t begin = trace_clock_ns();
  const TraceScope trace(SpanKind::kLoader, "augment", id);
  apply_augment(options_, draw, region, scratch.resize, out);
  augment_colours(options_, random, out, region.pixels.channels, scratch.colours);
  scratch.times.augment_ns += trace_clock_ns() - begin;
  ++scratch.times.samples;
}

}  // namespace lockstep
