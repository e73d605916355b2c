// DeviceTimer: how long work takes on a device, between two of its events.
//
// Before each measurement the device is kept busy with clearing a buffer (a head start), so that the host has handed over the
// whole work before the device begins it: launching costs no measured time, and the caches hold nothing of the operands.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/accelerator.h"

namespace lockstep {

class DeviceTimer {
 public:
  // Measures how large a buffer gives the head start (at most 512 MB of the device's memory, held until the end).
  explicit DeviceTimer(Accelerator& accelerator);

  // Runs work(), which gives its work to `stream`, and waits for it; nothing else may be given to the stream meanwhile. In ms.
  template <class Work>
  double ms(Stream stream, const Work& work) {
    begin(stream);
    work();
    return end(stream);
  }

 private:
  void begin(Stream stream);
  double end(Stream stream);

  Accelerator& accelerator_;
  Event begin_, end_;
  Tensor filler_;
};

}  // namespace lockstep
