// Device memory that stays: for buckets and for what reductions need beside them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/memory.h"
#include "core/tensor.h"

namespace lockstep {

// From the device's own pool, also where this thread takes its memory from another (PoolScope): that one holds what a step uses
// and gives back. Uninitialised; ready for work on the compute stream.
inline Tensor lasting_device_memory(const Shape& shape, DType dtype, Device device) {
  struct OwnPool {
    MemoryPool* before = exchange_thread_pool(nullptr);
    ~OwnPool() { exchange_thread_pool(before); }
  } const own_pool;
  return Tensor::empty(shape, dtype, device);
}

}  // namespace lockstep
