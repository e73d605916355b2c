// Roofline (Williams, Waterman, Patterson 2009): work of I operations per byte runs at no more than min(peak, I * memory rate). What
// a network takes on a device at the least, layer by layer, and its chart.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "charts/chart.h"
#include "planning/analysis.h"
#include "planning/device_description.h"
#include "train/trace_ops.h"

namespace lockstep {

// Which numbers come from off the chip.
enum class Traffic : std::uint8_t { kWeights, kWeightsAndInputs };

struct TimeBound {
  double arithmetic_s = 0, memory_s = 0;
  double seconds() const { return arithmetic_s > memory_s ? arithmetic_s : memory_s; }
  bool memory_bound() const { return memory_s > arithmetic_s; }
};

// REQUIRES: the device has the format's arithmetic.
TimeBound time_bound(const Demand& demand, Traffic traffic, const DeviceDescription& device, NumberFormat format);

// One batch on one device. Times are sums over layers of the larger of both bounds: layers run one after the other.
struct DeviceBound {
  double arithmetic_s = 0;     // all operations at the peak: nothing can be faster
  double weights_s = 0;        // weights come from memory, activations stay on the chip
  double seconds = 0;          // weights and input activations come from memory: the roofline's time
  double kernels_s = 0;        // kernel by kernel, with all that each reads and writes; 0: not known
  int layers = 0, memory_bound = 0;  // with weights; of them held up by memory in `seconds`
  int fit_on_chip = 0;         // layers whose input and output lie in the device's on-chip memory together

  double images_per_second(std::int64_t batch) const { return static_cast<double>(batch) / seconds; }
};

// `calls`: those of one step or evaluation of the batch (planning/step_calls.h); empty: not known.
DeviceBound bound_network(const NetworkCount& count, const NumberWidths& widths, Purpose purpose, const DeviceDescription& device,
                          NumberFormat format, std::span<const OpCall> calls = {});

// Each device's roof as a line, each layer with weights as a point on it (layers of equal intensity share one), the whole network as a
// point with its name. Devices without the format are left out.
Chart roofline_chart(const NetworkCount& count, const NumberWidths& widths, Purpose purpose, std::span<const DeviceDescription> devices,
                     NumberFormat format);

}  // namespace lockstep
