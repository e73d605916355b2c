// ComputeTime: what a shard's forward and backward pass takes on a device, layer by layer: the roofline of each kernel with the
// efficiencies of the device's description, or a measured step spread over the layers in that proportion.
//
// Each kernel takes overhead + max(operations / (peak * arithmetic), bytes / (rate * memory)). Convolutions and matrix products are
// three kernels (forward, data gradient, filter gradient; the first layer has no data gradient), every other op one each way. A kernel
// reads each operand once and writes once; batch norm reads its input twice (statistics, then apply) and so does its backward pass.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/passes.h"
#include "planning/device_description.h"

namespace lockstep {

struct LayerTime {
  std::string name;  // LayerInfo's
  double forward_s = 0, backward_s = 0;
};

struct ComputeTime {
  std::vector<LayerTime> layers;  // in forward order, of one shard
  double update_s = 0;            // the optimizer, once a step
  double add_shard_s = 0;         // adding another shard's gradients, per shard after a rank's first
  double overhead_s = 0;          // once a step
  std::string basis;              // "roofline of H100 SXM ..., efficiencies calibrated", "measured ..."

  double forward_s() const;
  double backward_s() const;
};

// `layers`: of one shard (Model::layers), with their work. Numbers are stored with `storage_bits` (16 or 32; 64). `parameters`: elements.
// REQUIRES: the device has the format's arithmetic.
ComputeTime roofline_time(std::span<const LayerInfo> layers, const DeviceDescription& device, NumberFormat format, std::int64_t parameters);

}  // namespace lockstep
