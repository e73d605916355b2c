// What a build without NCCL answers (nccl_api.cpp is the other).
// SPDX-License-Identifier: Apache-2.0
#include "distributed/device_transport.h"

namespace lockstep {

void require_nccl() {
  throw EnvironmentError("distributed.communicator: NCCL, but this build has no NCCL.\n"
                         "Build with CUDA (cmake --preset cuda; docs/gpu.md), or set distributed.communicator: MPI.");
}

std::unique_ptr<DeviceTransport> make_nccl_transport(const DeviceTransportSetup&) {
  require_nccl();
  return nullptr;
}

}  // namespace lockstep
