// The CUDA runtime as far as the backend uses it: one function per call, errors as EnvironmentErrors. runtime_cuda.cpp implements
// it over libcudart and libcuda, tests/emulated/runtime.cpp on the host, where work runs as late as it may.
//
// The emulated device is adversarial on purpose: what is given to a stream runs only when somebody synchronises with it (or
// asks whether an event is done), in an order that the events allow. A missing event or an early read shows as wrong numbers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "core/accelerator.h"
#include "cuda/cuda_backend.h"

namespace lockstep::cuda::runtime {

int device_count();  // 0 without a driver
GpuFacts gpu_facts(int device);
std::string gpu_problem(int device);  // why this build can't compute on it, and the fix; "": it can
void use_device(int device);  // for this thread

// Device address space: reserved once, given memory piece by piece (cuMemAddressReserve, cuMemMap). Offsets and sizes are
// multiples of granularity().
std::size_t granularity(int device);
std::byte* reserve_addresses(int device, std::size_t nbytes);
void release_addresses(int device, std::byte* begin, std::size_t nbytes, std::size_t committed);
// False: out of memory. Otherwise [begin, begin + nbytes) can be used.
bool commit(int device, std::byte* begin, std::size_t nbytes);
std::size_t free_bytes(int device);

void* allocate_pinned(std::size_t nbytes);
void free_pinned(void* memory);

Stream new_stream();
Event new_event();
void record(Event event, Stream stream);
void wait(Stream stream, Event event);
bool done(Event event);
void synchronize(Event event);
void synchronize(Stream stream);
double elapsed_ms(Event begin, Event end);
void copy(Stream stream, void* to, const void* from, std::size_t nbytes);
void fill_zero(Stream stream, void* at, std::size_t nbytes);

void begin_recording(Stream stream);
std::unique_ptr<RecordedWork> end_recording(Stream stream);
void replay(Stream stream, RecordedWork& work);

}  // namespace lockstep::cuda::runtime
