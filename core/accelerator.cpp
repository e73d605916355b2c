// SPDX-License-Identifier: Apache-2.0
#include "core/accelerator.h"

#include <array>
#include <cstring>

#include "core/error.h"
#include "core/rehearsal.h"

namespace lockstep {
namespace {

std::array<Accelerator*, 64> accelerators{};

Accelerator* registered(Device device) { return accelerators.at(static_cast<std::size_t>(device.index)); }

}  // namespace

Accelerator& accelerator_of(Device device) {
  LS_CHECK(device.kind == DeviceKind::kCuda, device.str() + " is no accelerator");
  LS_CHECK(registered(device) != nullptr, "no accelerator is registered for " + device.str());
  return *registered(device);
}

void register_accelerator(Device device, Accelerator* accelerator) {
  LS_CHECK(device.kind == DeviceKind::kCuda, "only GPUs are accelerators");
  accelerators.at(static_cast<std::size_t>(device.index)) = accelerator;
}

PoolScope::PoolScope(MemoryPool& pool) : before_(exchange_thread_pool(&pool)) {}
PoolScope::~PoolScope() { exchange_thread_pool(before_); }

void copy_contents(const Tensor& from, Tensor& to) {
  LS_CHECK(from.nbytes() == to.nbytes(), "copy of " + std::to_string(from.nbytes()) + " bytes into " + std::to_string(to.nbytes()));
  if (from.device() == Device{} && to.device() == Device{}) {
    if (from.nbytes() > 0) std::memcpy(to.ptr(), from.ptr(), from.nbytes());
    return;
  }
  if (Rehearsal::active()) return;  // addresses that nothing backs
  Accelerator& accelerator = accelerator_of(from.device() == Device{} ? to.device() : from.device());
  const Stream stream = accelerator.compute_stream();
  accelerator.copy(stream, to.ptr(), from.ptr(), from.nbytes());
  accelerator.synchronize(stream);
}

Tensor to_host(const Tensor& tensor) {
  if (!tensor || tensor.device() == Device{}) return tensor;
  Tensor copy = Tensor::empty(tensor.shape(), tensor.dtype());
  copy_contents(tensor, copy);
  return copy;
}

Tensor to_device(const Tensor& tensor, Device device) {
  if (!tensor || tensor.device() == device) return tensor;
  Tensor copy = Tensor::empty(tensor.shape(), tensor.dtype(), device);
  copy_contents(tensor, copy);
  return copy;
}

}  // namespace lockstep
