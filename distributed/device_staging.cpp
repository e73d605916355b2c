// SPDX-License-Identifier: Apache-2.0
#include "distributed/device_staging.h"

#include "core/error.h"

namespace lockstep {

DeviceStaging::DeviceStaging(Device device)
    : accelerator_(accelerator_of(device)), stream_(accelerator_.new_stream()), copied_(accelerator_.new_event()) {
  for (std::uint64_t i = 0; i < kSlots; ++i) ready_.push_back(accelerator_.new_event());
}

void DeviceStaging::submitted(std::uint64_t number, const Tensor& tensor) {
  LS_CHECK(tensor.device() == accelerator_.device(), "all-reduce of a tensor on " + tensor.device().str() + ", and before on " +
                                                         accelerator_.device().str());
  accelerator_.record(ready_[number % kSlots], accelerator_.compute_stream());
}

bool DeviceStaging::arrived(std::uint64_t number) { return accelerator_.done(ready_[number % kSlots]); }

View DeviceStaging::start_to_host(const Tensor& tensor) {
  if (!host_ || host_.nbytes() < tensor.nbytes())
    host_ = Tensor::empty_in(accelerator_.pinned_pool(), Shape{static_cast<std::int64_t>(tensor.nbytes())}, DType::kU8);
  accelerator_.copy(stream_, host_.ptr(), tensor.ptr(), tensor.nbytes());
  accelerator_.record(copied_, stream_);
  return {host_.ptr(), tensor.shape(), tensor.dtype(), Device{}};
}

void DeviceStaging::start_to_device(Tensor& tensor) {
  accelerator_.copy(stream_, tensor.ptr(), host_.ptr(), tensor.nbytes());
  accelerator_.record(copied_, stream_);
}

bool DeviceStaging::copied() { return accelerator_.done(copied_); }

}  // namespace lockstep
