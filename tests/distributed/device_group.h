// Ranks that are threads with an emulated device each: LocalGroup's communicators below, DeviceCommunicators above.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "cuda/cuda_backend.h"
#include "distributed/device_choice.h"
#include "distributed/device_communicator.h"
#include "distributed/local_group.h"
#include "tests/emulated/device_transport.h"

namespace lockstep::testing {

class DeviceGroup {
 public:
  explicit DeviceGroup(int ranks, const CommunicatorOptions& options = {})
      : hub(ranks), group(ranks, options, 0, [&](std::unique_ptr<QueuedCommunicator> host) {
          return std::make_unique<DeviceCommunicator>(std::move(host), hub.maker(), options);
        }) {}

  // fn(communicator, the rank's accelerator), as LocalGroup::run.
  template <class Fn>
  void run(Fn fn) {
    group.run([&](Communicator& comm) { fn(comm, start(comm)); });
  }
  static Accelerator& start(Communicator& comm) {
    Accelerator& accelerator = start_accelerator(pick_device(comm, static_cast<int>(cuda_report().gpus.size())));
    comm.use_device(accelerator.device(), "emulated:" + std::to_string(accelerator.device().index));
    return accelerator;
  }

  cuda::emulated::TransportHub hub;
  LocalGroup group;
};

}  // namespace lockstep::testing
