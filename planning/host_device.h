// HostDevice: this machine's processor as a device description, measured: the yardstick of rooflines on a CPU.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "planning/device_description.h"

namespace lockstep {

struct HostMeasurement {
  DeviceDescription device;      // peaks in FP64, FP32 and BF16, the faster of both memory rates
  double read_bytes_per_second = 0, copy_bytes_per_second = 0;  // copying: read and written bytes
};

// All `cores` (0: those that this process may use) work at the same time, a thread each, for that is how training uses them: peaks are
// the slowest core's times their number. Takes a few seconds and 100 MB per core. `power_w`, `idle_power_w`: what is known of the
// processor's, 0: nothing. `name`: empty: the processor's own.
HostMeasurement measure_host(int cores, double power_w, double idle_power_w, const std::string& name);

}  // namespace lockstep
