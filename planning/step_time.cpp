// SPDX-License-Identifier: Apache-2.0
#include "planning/step_time.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace lockstep {
namespace {

class KernelClock {
 public:
  KernelClock(const DeviceDescription& device, NumberFormat format)
      : operations_per_s_(device.peak(format) * device.efficiency.arithmetic),
        bytes_per_s_(device.memory_bytes_per_second * device.efficiency.memory),
        overhead_s_(device.efficiency.kernel_overhead_s) {}

  double seconds(double operations, double bytes) const { return overhead_s_ + std::max(operations / operations_per_s_, bytes / bytes_per_s_); }

 private:
  double operations_per_s_, bytes_per_s_, overhead_s_;
};

// A 3x3 convolution with stride 1, told from its counts: weights / (OUT * IN) is the filter's area (per group), and the input's
// channels follow from its elements where input and output are of one size. Without padding the area comes out a little low.
bool winograd_layer(const LayerInfo& layer) {
  const Work& work = layer.work;
  if (layer.op != "conv2d" || layer.output.rank() != 4 || work.outputs <= 0 || work.inputs <= 0) return false;
  const auto out_channels = static_cast<double>(layer.output[1]);
  const double in_channels = static_cast<double>(work.inputs) / (static_cast<double>(work.outputs) / out_channels);
  const double area = static_cast<double>(work.weights) / (out_channels * in_channels);
  return area > 8 && area < 9.01;
}

struct Pass {
  const KernelClock& clock;
  double element_bytes, gain;  // gain: of Winograd

  LayerTime arithmetic(const LayerInfo& layer, bool first) const {
    const Work& work = layer.work;
    const double bytes = static_cast<double>(work.inputs + work.outputs + work.weights) * element_bytes;
    const double operations = static_cast<double>(work.operations) / (winograd_layer(layer) ? gain : 1);
    const double once = clock.seconds(operations, bytes);
    return {layer.name, once, first ? once : 2 * once};
  }
  // Reads: x twice and what is added to it; backward: x and the gradient twice; writes a gradient for each input. By the output's shape:
  // a norm that is an op together with the next convolution counts no inputs, and is a kernel of its own here all the same.
  LayerTime norm(const LayerInfo& layer) const {
    const auto outputs = static_cast<double>(layer.output.numel()), inputs = std::max(static_cast<double>(layer.work.inputs), outputs);
    return {layer.name, clock.seconds(0, (inputs + 2 * outputs) * element_bytes), clock.seconds(0, (inputs + 4 * outputs) * element_bytes)};
  }
  LayerTime other(const LayerInfo& layer) const {
    const auto inputs = static_cast<double>(layer.work.inputs), outputs = static_cast<double>(layer.work.outputs);
    return {layer.name, clock.seconds(0, (inputs + outputs) * element_bytes), clock.seconds(0, (inputs + 2 * outputs) * element_bytes)};
  }
};

// Bytes that updating one parameter moves: gradient and momentum and weight read, the latter two written, and a 16-bit copy.
double update_bytes(NumberFormat format) { return format_bits(format) == 64 ? 40 : format_bits(format) == 16 ? 22 : 20; }

}  // namespace

double ComputeTime::forward_s() const {
  double sum = 0;
  for (const LayerTime& layer : layers) sum += layer.forward_s;
  return sum;
}

double ComputeTime::backward_s() const {
  double sum = 0;
  for (const LayerTime& layer : layers) sum += layer.backward_s;
  return sum;
}

ComputeTime roofline_time(std::span<const LayerInfo> layers, const DeviceDescription& device, NumberFormat format, std::int64_t parameters) {
  LS_CHECK(device.has(format), "a step time without a peak");
  const KernelClock clock(device, format);
  const Pass pass{clock, format_bits(format) / 8.0, format == NumberFormat::kFp32 ? device.efficiency.winograd_gain : 1};
  ComputeTime result;
  bool first = true;
  for (const LayerInfo& layer : layers) {
    if (layer.work.operations > 0) {
      result.layers.push_back(pass.arithmetic(layer, first));
      first = false;
    } else {
      result.layers.push_back(layer.op == "batch_norm" ? pass.norm(layer) : pass.other(layer));
    }
  }
  const auto elements = static_cast<double>(parameters);
  const double gradient_bytes = format_bits(format) == 64 ? 8 : 4;
  result.update_s = clock.seconds(0, elements * update_bytes(format));
  result.add_shard_s = clock.seconds(0, 3 * elements * gradient_bytes);
  result.overhead_s = device.efficiency.step_overhead_s;
  const bool calibrated = !device.efficiency.source.empty();
  result.basis =
      fmt::format("roofline of {} in {}: {:.0f} % of its arithmetic, {:.0f} % of its memory rate, {:.1f} us per kernel ({})", device.name,
                  format_name(format), 100 * device.efficiency.arithmetic, 100 * device.efficiency.memory, device.efficiency.kernel_overhead_s * 1e6,
                  calibrated ? "calibrated: see its file" : "not calibrated: a bound, not a prediction");
  return result;
}

}  // namespace lockstep
