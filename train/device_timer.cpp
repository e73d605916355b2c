// SPDX-License-Identifier: Apache-2.0
#include "train/device_timer.h"

namespace lockstep {
namespace {

// What the host needs to hand over one op's work, with room to spare: cuDNN's graphs take tens of microseconds.
constexpr double kHeadStartMs = 0.1;
constexpr std::int64_t kSmallestFill = std::int64_t{1} << 20, kLargestFill = std::int64_t{512} << 20;

}  // namespace

DeviceTimer::DeviceTimer(Accelerator& accelerator)
    : accelerator_(accelerator), begin_(accelerator.new_event()), end_(accelerator.new_event()) {
  const Stream stream = accelerator.compute_stream();
  for (std::int64_t bytes = kSmallestFill;; bytes *= 2) {
    filler_ = Tensor();  // its memory is free for the larger one
    filler_ = Tensor::empty({bytes}, DType::kU8, accelerator.device());
    double ms = 0;
    for (int i = 0; i < 2; ++i) {  // the first time may load code and touch new pages
      accelerator_.record(begin_, stream);
      accelerator_.fill_zero(stream, filler_.ptr(), filler_.nbytes());
      ms = end(stream);
    }
    if (ms >= kHeadStartMs || bytes >= kLargestFill) return;
  }
}

void DeviceTimer::begin(Stream stream) {
  accelerator_.fill_zero(stream, filler_.ptr(), filler_.nbytes());
  accelerator_.record(begin_, stream);
}

double DeviceTimer::end(Stream stream) {
  accelerator_.record(end_, stream);
  accelerator_.synchronize(end_);
  return accelerator_.elapsed_ms(begin_, end_);
}

}  // namespace lockstep
