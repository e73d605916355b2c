// Device and Stream: where a tensor lies, and the queue on which work for it is ordered.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace lockstep {

enum class DeviceKind : std::uint8_t { kCpu, kCuda };

struct Device {
  DeviceKind kind = DeviceKind::kCpu;
  int index = 0;
  bool operator==(const Device&) const = default;
  std::string str() const { return kind == DeviceKind::kCpu ? "cpu" : "cuda:" + std::to_string(index); }
};

// A backend's queue of work. `handle` is a cudaStream_t on a GPU and null on the CPU, where calls complete before
// they return. Work on one stream runs in order; kernels never wait for the host.
struct Stream {
  void* handle = nullptr;
};

}  // namespace lockstep
