// DeviceStaging: all-reduces of tensors on a device through page-locked host memory, for communicators that only reach the host:
// ranks that share a GPU, or machines without NCCL. One buffer, one stream: a bucket goes over, is reduced, and comes back.
//
// The caller's thread calls submitted(); everything else belongs to the communication thread, which polls and never blocks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "core/accelerator.h"
#include "core/tensor.h"

namespace lockstep {

class DeviceStaging {
 public:
  static constexpr std::uint64_t kSlots = 256;  // operations under way

  explicit DeviceStaging(Device device);

  // Operation `number` reduces `tensor` as the compute stream leaves it by now. At most kSlots are under way at once.
  void submitted(std::uint64_t number, const Tensor& tensor);
  bool arrived(std::uint64_t number);  // the compute stream got there
  View start_to_host(const Tensor& tensor);
  void start_to_device(Tensor& tensor);  // from start_to_host's memory
  bool copied();                         // what was last started is done

 private:
  Accelerator& accelerator_;
  Stream stream_;
  Event copied_;
  std::vector<Event> ready_;  // by operation
  Tensor host_;
};

}  // namespace lockstep
