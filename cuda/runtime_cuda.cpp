// The CUDA runtime (runtime.h) on a GPU: devices, streams, events, copies. Nothing runs on the default stream; waiting threads
// sleep.
// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <string>

#include "core/error.h"
#include "cuda/cuda_check.h"
#include "cuda/launch.h"
#include "cuda/runtime.h"

namespace lockstep::cuda {
namespace {

cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }
cudaEvent_t native(Event event) { return static_cast<cudaEvent_t>(event.handle); }

thread_local int thread_device = -1;

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  if (cudaDeviceGetAttribute(&value, which, device) != cudaSuccess) static_cast<void>(cudaGetLastError());  // unknown: 0
  return value;
}

const char* fix_for(cudaError_t error) {
  switch (error) {
    case cudaErrorMemoryAllocation: return "; lower shard_batch, or see what else uses the GPU (nvidia-smi)";
    case cudaErrorNoKernelImageForDevice: return "; build for this GPU: -DLOCKSTEP_CUDA_ARCHITECTURES=...";
    case cudaErrorInsufficientDriver: return "; update the NVIDIA driver";
    case cudaErrorStreamCaptureUnjoined: return "; a stream joined a recording by an event and was not joined again";
    default: return "";
  }
}

}  // namespace

void throw_cuda_error(cudaError_t error, const char* call) {
  static_cast<void>(cudaGetLastError());  // the next call's error shall be its own
  throw EnvironmentError("cuda:" + std::to_string(thread_device) + ": " + call + ": " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) +
                         ")" + fix_for(error));
}

void check_launch(const char* kernel) { check_cuda(cudaGetLastError(), kernel); }

namespace runtime {

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  static_cast<void>(cudaGetLastError());
  return 0;
}

GpuFacts gpu_facts(int device) {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  std::array<char, 32> bus_id{};
  check_cuda(cudaDeviceGetPCIBusId(bus_id.data(), static_cast<int>(bus_id.size()), device), "cudaDeviceGetPCIBusId");
  const double clock_hz = 1e3 * attribute(cudaDevAttrMemoryClockRate, device);
  const double bus_bytes = attribute(cudaDevAttrGlobalMemoryBusWidth, device) / 8.0;
  GpuFacts facts;
  facts.name = properties.name;
  facts.pci_bus_id = bus_id.data();
  facts.major = properties.major;
  facts.minor = properties.minor;
  facts.multiprocessors = properties.multiProcessorCount;
  facts.memory_bytes = properties.totalGlobalMem;
  facts.l2_bytes = static_cast<std::size_t>(properties.l2CacheSize);
  facts.memory_bytes_per_s = 2 * clock_hz * bus_bytes;  // two transfers a clock
  return facts;
}

std::string gpu_problem(int device) {
  const int major = attribute(cudaDevAttrComputeCapabilityMajor, device);
  const int minor = attribute(cudaDevAttrComputeCapabilityMinor, device);
  const std::string name = "GPU " + std::to_string(device) + " has compute capability " + std::to_string(major) + "." + std::to_string(minor);
  if (10 * major + minor < LOCKSTEP_CUDA_LEAST_ARCHITECTURE)
    return name + ", and this build is for " + std::to_string(LOCKSTEP_CUDA_LEAST_ARCHITECTURE / 10) + "." +
           std::to_string(LOCKSTEP_CUDA_LEAST_ARCHITECTURE % 10) + " and later; build with -DLOCKSTEP_CUDA_ARCHITECTURES=" + std::to_string(major) +
           std::to_string(minor) + (major < 8 ? " (bf16 needs 8.0)" : "");
  return "";
}

void use_device(int device) {
  if (device == thread_device) return;
  static std::array<std::atomic<bool>, 64> initialised{};
  if (!initialised.at(static_cast<std::size_t>(device)).exchange(true))
    check_cuda(cudaInitDevice(device, cudaDeviceScheduleBlockingSync, cudaInitDeviceFlagsAreValid), "cudaInitDevice");
  check_cuda(cudaSetDevice(device), "cudaSetDevice");
  thread_device = device;
}

std::size_t free_bytes(int device) {
  use_device(device);
  std::size_t free = 0, total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return free;
}

void* allocate_pinned(std::size_t nbytes) {
  void* memory = nullptr;
  const cudaError_t error = cudaHostAlloc(&memory, nbytes, cudaHostAllocPortable);
  if (error == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    throw EnvironmentError("cuda: no page-locked host memory: wanted " + std::to_string(nbytes) + " bytes; free host memory, see also ulimit -l");
  }
  check_cuda(error, "cudaHostAlloc");
  return memory;
}

void free_pinned(void* memory) { check_cuda(cudaFreeHost(memory), "cudaFreeHost"); }

Stream new_stream() {
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  return {stream};
}

Event new_event() {
  cudaEvent_t event = nullptr;
  check_cuda(cudaEventCreateWithFlags(&event, cudaEventBlockingSync), "cudaEventCreateWithFlags");
  return {event};
}

void record(Event event, Stream stream) { check_cuda(cudaEventRecord(native(event), native(stream)), "cudaEventRecord"); }
void wait(Stream stream, Event event) { check_cuda(cudaStreamWaitEvent(native(stream), native(event), 0), "cudaStreamWaitEvent"); }

bool done(Event event) {
  const cudaError_t state = cudaEventQuery(native(event));
  if (state != cudaErrorNotReady) check_cuda(state, "cudaEventQuery");
  return state == cudaSuccess;
}

void synchronize(Event event) { check_cuda(cudaEventSynchronize(native(event)), "cudaEventSynchronize"); }
void synchronize(Stream stream) { check_cuda(cudaStreamSynchronize(native(stream)), "cudaStreamSynchronize"); }

double elapsed_ms(Event begin, Event end) {
  float milliseconds = 0;
  check_cuda(cudaEventElapsedTime(&milliseconds, native(begin), native(end)), "cudaEventElapsedTime");
  return milliseconds;
}

void fill_zero(Stream stream, void* at, std::size_t nbytes) {
  if (nbytes > 0) check_cuda(cudaMemsetAsync(at, 0, nbytes, native(stream)), "cudaMemsetAsync");
}

}  // namespace runtime
}  // namespace lockstep::cuda
