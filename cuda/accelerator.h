// CudaAccelerator: core's Accelerator over the CUDA runtime (runtime.h), with the device's memory pools.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "core/accelerator.h"
#include "cuda/device_pool.h"

namespace lockstep::cuda {

class CudaAccelerator final : public Accelerator {
 public:
  explicit CudaAccelerator(int device);  // the device exists: start_accelerator has asked

  Device device() const override { return {DeviceKind::kCuda, device_}; }
  const std::string& description() const override { return description_; }
  Stream compute_stream() override { return compute_; }
  Stream new_stream() override;
  Event new_event() override;
  void record(Event event, Stream stream) override;
  void wait(Stream stream, Event event) override;
  bool done(Event event) override;
  void synchronize(Event event) override;
  void synchronize(Stream stream) override;
  double elapsed_ms(Event begin, Event end) override;
  void copy(Stream stream, void* to, const void* from, std::size_t nbytes) override;
  void fill_zero(Stream stream, void* at, std::size_t nbytes) override;
  void add(Stream stream, DType dtype, void* sum, const void* a, const void* b, std::int64_t numel) override;
  void divide(Stream stream, DType dtype, void* values, std::int64_t numel, std::int64_t divisor) override;
  void convert(Stream stream, DType from, const void* source, DType to, void* target, std::int64_t numel) override;
  void begin_recording(Stream stream) override;
  std::unique_ptr<RecordedWork> end_recording(Stream stream) override;
  void replay(Stream stream, RecordedWork& work) override;
  MemoryPool& pinned_pool() override { return pinned_; }
  std::unique_ptr<MemoryPool> make_pool() override;

 private:
  const int device_;
  std::string description_;
  DevicePool pool_;
  PinnedPool pinned_;
  Stream compute_;
};

}  // namespace lockstep::cuda
