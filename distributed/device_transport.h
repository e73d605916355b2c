// DeviceTransport: what moves tensors between GPUs: NCCL (nccl_api.cpp), or the tests' emulated one.
//
// Calls give work to a stream, which runs when all ranks that take part have given theirs; ranks must make matching calls in the
// same order. They don't wait for the device and may be recorded; a first call may wait for peers to connect. Used by one
// thread, except where a comment says "any thread".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/device.h"
#include "core/dtype.h"
#include "distributed/communicator.h"

namespace lockstep {

class DeviceTransport {
 public:
  virtual ~DeviceTransport() = default;
  virtual std::string name() const = 0;  // "nccl 2.28.9"

  // False: it is still starting or taking in a call. Any thread. Throws EnvironmentError, from then on always, when it has failed:
  // what was given to it will never be done (kTempFail: a peer was lost).
  virtual bool ready() = 0;

  // Sends `sent_bytes` bytes to `peer` and receives `received_bytes` from it at the same time. Either may be 0: that message
  // doesn't exist. Memory of the device; no overlap.
  virtual void exchange(Stream stream, int peer, const void* sent, std::size_t sent_bytes, void* received, std::size_t received_bytes) = 0;
  // Sums over all ranks in place, in whatever order; all ranks get the same bits. f32, f64 or bf16.
  virtual void all_reduce(Stream stream, DType dtype, void* values, std::int64_t numel) = 0;

  // Ends this rank's part, also what runs on the device: its results are worthless. Any thread; may take long. Peers aren't told.
  virtual void abort() = 0;
  // Clean end, on all ranks, when the device has nothing left to do for it. May wait for peers.
  virtual void close() = 0;
};

struct DeviceTransportSetup {
  Communicator& host;            // of the same ranks, for what they must tell each other first
  Device device;
  std::function<void()> pause;   // called while a call waits; sleeps a little, throws when the job has failed
  bool pretend_hosts = false;    // CommunicatorOptions
};
using MakeDeviceTransport = std::function<std::unique_ptr<DeviceTransport>(const DeviceTransportSetup&)>;

// NCCL. Collective; returns before it has started (ready). EnvironmentError in a build without.
std::unique_ptr<DeviceTransport> make_nccl_transport(const DeviceTransportSetup& setup);
// EnvironmentError saying how to get a build with NCCL, if this is none.
void require_nccl();

}  // namespace lockstep
