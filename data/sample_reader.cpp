// SPDX-License-Identifier: Apache-2.0
#include "data/sample_reader.h"

#include "core/error.h"
#include "core/trace.h"

namespace lockstep {

SampleReader::SampleReader(const Source& source, const AugmentOptions& options, std::uint64_t seed, BadSamples* bad)
    : source_(source), options_(checked_augment(options, source.height(), source.width())), seed_(seed), bad_(bad) {
  if (source.height() != 0) check_fit(0, source.height(), source.width());  // one size: said now and not by a worker
}

void SampleReader::check_fit(std::int64_t id, int height, int width) const {
  const std::string misfit = augment_misfit(options_, height, width);
  if (!misfit.empty()) throw UserError(source_.name(id) + ": " + misfit);  // kUsage: other options are the cure
}

std::int64_t SampleReader::read(std::int64_t id, std::int64_t epoch, SampleScratch& scratch, std::uint8_t* out) const {
  const std::int64_t size = source_.size();
  for (std::int64_t tries = 0; tries < size; ++tries, id = (id + 1) % size) {
    if (bad_ != nullptr && bad_->contains(id)) continue;
    try {
      read_one(id, epoch, scratch, out);
      return id;
    } catch (const UserError& error) {
      const bool of_the_sample = error.code() == ExitCode::kData || error.code() == ExitCode::kNoInput;
      if (bad_ == nullptr || !of_the_sample) throw;
      bad_->add({id, source_.name(id), error.what()});
    }
  }
  throw UserError(source_.describe() + ": not one sample can be read.", ExitCode::kData);
}

void SampleReader::read_one(std::int64_t id, std::int64_t epoch, SampleScratch& scratch, std::uint8_t* out) const {
  const Image image = [&] {
    const TraceScope trace(SpanKind::kLoader, "read", id);  // of an encoded image, with its decoding
    return source_.read(id, scratch.read);
  }();
  check_fit(id, image.height, image.width);
  const TraceScope trace(SpanKind::kLoader, "augment", id);
  const AugmentDraw draw = draw_augment(options_, image.height, image.width, seed_, epoch, id);
  apply_augment(options_, draw, image, scratch.resize, out);
}

}  // namespace lockstep
