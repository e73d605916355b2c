// Accelerator: what the host does with a device besides computing on it: queues of work, events, copies, page-locked
// memory, and work that is recorded once and replayed (CUDA graphs).
//
// Work that is given to a stream runs later, in the stream's order; between streams, only events order it. A call returns
// at once unless its comment says that it blocks. Handles live as long as the process: make them once, at set-up. Errors of
// the device are EnvironmentErrors naming the call and the device, thrown by the call that notices.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/device.h"
#include "core/dtype.h"
#include "core/memory.h"
#include "core/tensor.h"

namespace lockstep {

// A point in a stream's work.
struct Event {
  void* handle = nullptr;
};

// Work that was recorded. Replaying it runs the same kernels on the same addresses, so all memory that was taken while it
// was recorded must stay reserved for it.
class RecordedWork {
 public:
  virtual ~RecordedWork() = default;
  virtual std::size_t node_count() const = 0;  // kernels, copies and fills
};

class Accelerator {
 public:
  virtual ~Accelerator() = default;
  virtual Device device() const = 0;
  virtual const std::string& description() const = 0;  // "NVIDIA H200, 132 SMs, 141 GB"

  virtual Stream compute_stream() = 0;  // the one on which a run computes
  virtual Stream new_stream() = 0;
  virtual Event new_event() = 0;

  virtual void record(Event event, Stream stream) = 0;  // the event is the end of what `stream` has been given so far
  virtual void wait(Stream stream, Event event) = 0;    // what `stream` is given from now on runs after the event
  virtual bool done(Event event) = 0;                   // true too when it was never recorded
  virtual void synchronize(Event event) = 0;            // blocks until it is done, asleep
  virtual void synchronize(Stream stream) = 0;          // blocks until the stream has nothing left
  virtual double elapsed_ms(Event begin, Event end) = 0;  // both done

  // Between any two memories. Host memory should be page-locked (pinned_pool): else the call blocks, and it can't be recorded.
  virtual void copy(Stream stream, void* to, const void* from, std::size_t nbytes) = 0;
  virtual void fill_zero(Stream stream, void* at, std::size_t nbytes) = 0;

  // What reductions compute; f32 or f64, with the bits of distributed/vector_add.h. `sum` may be a or b.
  virtual void add(Stream stream, DType dtype, void* sum, const void* a, const void* b, std::int64_t numel) = 0;
  virtual void divide(Stream stream, DType dtype, void* values, std::int64_t numel, std::int64_t divisor) = 0;
  virtual void convert(Stream stream, DType from, const void* source, DType to, void* target, std::int64_t numel) = 0;

  // Between the two, what `stream` (and streams that wait for its events and that it waits for again) is given is recorded
  // and not run. Needs calls that were made once before: nothing may allocate from the system meanwhile.
  virtual void begin_recording(Stream stream) = 0;
  virtual std::unique_ptr<RecordedWork> end_recording(Stream stream) = 0;
  virtual void replay(Stream stream, RecordedWork& work) = 0;

  virtual MemoryPool& pinned_pool() = 0;  // host memory (its tensors' device is the CPU) that copies reach without blocking
  // A further pool of this device's memory: for what recorded work uses (PoolScope). Must outlive its tensors and the work.
  virtual std::unique_ptr<MemoryPool> make_pool() = 0;
};

// Throws InternalError when none is registered.
Accelerator& accelerator_of(Device device);
void register_accelerator(Device device, Accelerator* accelerator);

// While it lives, this thread's Tensor::empty on pool.device() takes from `pool`.
class PoolScope {
 public:
  explicit PoolScope(MemoryPool& pool);
  ~PoolScope();
  PoolScope(const PoolScope&) = delete;
  PoolScope& operator=(const PoolScope&) = delete;

 private:
  MemoryPool* before_;
};

// A copy on the host (of a tensor on the host: the tensor itself). Blocks until all that was given to the device's compute
// stream has run.
Tensor to_host(const Tensor& tensor);
// A copy of a host tensor in the device's memory (of a tensor there: itself). Blocks.
Tensor to_device(const Tensor& tensor, Device device);
// Both of the same size; blocks.
void copy_contents(const Tensor& from, Tensor& to);

}  // namespace lockstep
