// SPDX-License-Identifier: Apache-2.0
#include "cuda/accelerator.h"

#include "core/error.h"
#include "cuda/kernels/elementwise.h"
#include "cuda/runtime.h"

namespace lockstep::cuda {
namespace {

// "NVIDIA H200, 132 SMs, 141 GB"
std::string describe_gpu(int device) {
  const GpuFacts facts = runtime::gpu_facts(device);
  return facts.name + ", " + std::to_string(facts.multiprocessors) + " SMs, " + std::to_string((facts.memory_bytes + 500'000'000) / 1'000'000'000) +
         " GB";
}

// The thread's current device is the one that its calls are about: threads start with device 0.
int used(int device) {
  runtime::use_device(device);
  return device;
}

}  // namespace

CudaAccelerator::CudaAccelerator(int device)
    : device_(used(device)), description_(describe_gpu(device)), pool_(device), compute_(runtime::new_stream()) {
  register_pool(this->device(), &pool_);
}

Stream CudaAccelerator::new_stream() {
  used(device_);
  return runtime::new_stream();
}
Event CudaAccelerator::new_event() {
  used(device_);
  return runtime::new_event();
}

void CudaAccelerator::record(Event event, Stream stream) {
  used(device_);
  runtime::record(event, stream);
}
void CudaAccelerator::wait(Stream stream, Event event) {
  used(device_);
  runtime::wait(stream, event);
}
bool CudaAccelerator::done(Event event) {
  used(device_);
  return runtime::done(event);
}
void CudaAccelerator::synchronize(Event event) {
  used(device_);
  runtime::synchronize(event);
}
void CudaAccelerator::synchronize(Stream stream) {
  used(device_);
  runtime::synchronize(stream);
}
double CudaAccelerator::elapsed_ms(Event begin, Event end) {
  used(device_);
  return runtime::elapsed_ms(begin, end);
}

void CudaAccelerator::copy(Stream stream, void* to, const void* from, std::size_t nbytes) {
  used(device_);
  runtime::copy(stream, to, from, nbytes);
}
void CudaAccelerator::fill_zero(Stream stream, void* at, std::size_t nbytes) {
  used(device_);
  runtime::fill_zero(stream, at, nbytes);
}

void CudaAccelerator::add(Stream stream, DType dtype, void* sum, const void* a, const void* b, std::int64_t numel) {
  used(device_);
  add_arrays(stream, dtype, sum, a, b, numel);
}
void CudaAccelerator::divide(Stream stream, DType dtype, void* values, std::int64_t numel, std::int64_t divisor) {
  used(device_);
  divide_array(stream, dtype, values, numel, divisor);
}
void CudaAccelerator::convert(Stream stream, DType from, const void* source, DType to, void* target, std::int64_t numel) {
  used(device_);
  cuda::convert(stream, ConstView{source, {numel}, from, device()}, View{target, {numel}, to, device()});
}

void CudaAccelerator::begin_recording(Stream stream) {
  used(device_);
  runtime::begin_recording(stream);
}
std::unique_ptr<RecordedWork> CudaAccelerator::end_recording(Stream stream) {
  used(device_);
  return runtime::end_recording(stream);
}
void CudaAccelerator::replay(Stream stream, RecordedWork& work) {
  used(device_);
  runtime::replay(stream, work);
}

std::unique_ptr<MemoryPool> CudaAccelerator::make_pool() { return std::make_unique<DevicePool>(device_); }

}  // namespace lockstep::cuda
