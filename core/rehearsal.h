// Rehearsal: finds out how much memory a piece of work takes, by doing it without computing.
//
// While one lives, its thread's tensors lie in address space of their own that costs memory only where it is touched, and
// kernels take their scratch, prepare what they need (primitives) and return: each host backend looks at active() in the
// few places that all its work goes through (cpu/fast/parallel.h, dnnl_adapter.cpp, cpu/reference/common.h; cuda/launch.h,
// convolution.cpp, linear.cpp).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>

#include "core/device.h"

namespace lockstep {

class DryPool;
class HostArena;
class MemoryPool;

class Rehearsal {
 public:
  // Not within another one. With a GPU: its tensors lie at addresses that nothing backs, and peak_bytes counts those.
  explicit Rehearsal(Device device = {});
  ~Rehearsal();  // tensors made meanwhile should be gone; if not, their address space stays reserved
  Rehearsal(const Rehearsal&) = delete;
  Rehearsal& operator=(const Rehearsal&) = delete;

  std::size_t peak_bytes() const;  // of address space, gaps included: what the same work takes of the thread's own arena

  static bool active();  // on this thread

 private:
  std::unique_ptr<DryPool> dry_;  // with a GPU
  MemoryPool* pool_before_ = nullptr;
  std::unique_ptr<HostArena> arena_;
  HostArena* before_ = nullptr;  // where this thread's tensors came from, if not from its own arena
};

}  // namespace lockstep
