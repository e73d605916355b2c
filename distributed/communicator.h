// Communicator: what ranks say to each other. Blocking small operations, and a queue of all-reduces that run while the
// caller computes. One communication thread per rank owns every call into the transport and runs all operations, small
// ones too, strictly in the order of submission, so every rank must submit the same operations in the same order.
//
// Nothing waits for ever: an operation that misses its deadline ends in a verdict that names the late ranks (see wait).
// No call spins: waiting is polling with sleeps of 5 us to 1 ms. Calls may come from any thread, one at a time.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"

namespace lockstep {

// kFixedTree: ((r0 + r1) + (r2 + r3)) per element, whatever the size of the buffer; needs a power of two ranks.
// kFast: a ring, any number of ranks; the order of additions depends on the element's place and on the number of ranks.
// Either way all ranks end with the same bits, and a repeated run gives the same bits.
enum class ReduceOrder : std::uint8_t { kFixedTree, kFast };

// kNative: the buffer's own dtype travels. kBF16 (f32 buffers only): a sender rounds its partial sum to bf16 (nearest
// even), the receiver adds in f32, and the final sum is rounded to bf16 for everyone, the rank that computed it included.
// Error: at most (hops + 1) * 2^-8 * sum over ranks |x|, hops = log2(ranks) for the tree and ranks - 1 for the ring. The
// bits depend on the number of ranks, so kBF16 gives up equality between world sizes. One rank sends, and rounds, nothing.
enum class WireFormat : std::uint8_t { kNative, kBF16 };

struct ReduceOptions {
  ReduceOrder order = ReduceOrder::kFixedTree;
  WireFormat wire = WireFormat::kNative;
  std::int64_t divisor = 1;  // the sum is divided by this, once (multiplied by 1/divisor if that is a power of two)
};

using Ticket = std::uint64_t;  // number of the operation, from 1

struct OperationTimes {  // steady clock, ns
  std::int64_t submitted_ns = 0, started_ns = 0, done_ns = 0;
};

struct CommunicatorOptions {
  double deadline_seconds = 60;  // for each operation, from the moment that this rank starts it
  std::string report_dir;        // if not empty, a verdict also writes collectives_rank<r>.txt there
  // Large buffers travel in messages of this size, a multiple of 8; the same on all ranks. 1 MiB: large enough for a
  // message's cost not to count, small enough to stay in the second-level cache while it is added.
  std::size_t chunk_bytes = std::size_t{1} << 20;
  // Ranks of one host reduce in shared memory, if the system lets them. The same bits either way, and on all ranks alike;
  // off to test and to measure messages.
  bool share_memory = true;
  // kNccl only: lets several ranks use one GPU by telling NCCL that each is a host of its own (NCCL_HOSTID), so that they talk
  // through the network. For tests on machines with one GPU; NCCL doesn't promise that it works.
  bool pretend_hosts = false;
  // Ends the process when an operation failed and the caller didn't come to hear of it within a second (it is stuck
  // elsewhere). Default: prints the message to stderr and calls _exit(code). Injectable for tests.
  std::function<void(ExitCode, const std::string& message)> on_abandoned;
};

class Communicator {
 public:
  Communicator() = default;
  // No collective happens here: without finalize() peers are left to abort or to their deadlines.
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual const std::string& host_of(int rank) const = 0;
  virtual int local_rank() const = 0;  // place among the ranks of this host
  virtual std::string_view transport() const = 0;  // "local", "mpi, shared memory", .., for banners

  // Zeroed f32 or f64 memory whose all-reduce is quickest: where ranks share memory, peers add from it and into it without a
  // copy. Any thread. May be kept beyond the communicator.
  virtual Tensor make_buffer(const Shape& shape, DType dtype) { return Tensor::zeros(shape, dtype); }

  // Blocking. `label` names the operation in reports. Failures: as for wait.
  // all_gather: every rank gives equally many bytes; `all` holds size() times as many, in the order of ranks.
  virtual void all_gather(std::span<const std::byte> mine, std::span<std::byte> all, std::string_view label) = 0;
  virtual void broadcast(std::span<std::byte> bytes, int root, std::string_view label) = 0;
  virtual void barrier(std::string_view label) = 0;

  // Sums `buffer` (f32 or f64; on the CPU, make_buffer's or any other, or on a device) over ranks in place. Returns at once; the
  // buffer must not be touched until wait returns. On a device, it is read after all that the device's compute stream has been
  // given so far. Throws UserError when the order doesn't allow this number of ranks.
  virtual Ticket all_reduce_async(Tensor buffer, const ReduceOptions& options, std::string_view label) = 0;
  // Blocks until the operation and all before it are done; of a tensor on a device with on_device(), makes the compute stream
  // wait instead, and returns no times. Throws EnvironmentError: kTempFail with the verdict when a deadline was missed,
  // kEnvironment when the transport failed, or the code of the rank that called abort. After a failure every later call throws
  // the same error.
  virtual OperationTimes wait(Ticket ticket) = 0;

  // GPUs (device_communicator.h). True: all-reduces of tensors on a device are work on its streams; all_reduce_async and wait
  // never wait for the device and may be recorded. False: they go through the host's memory.
  virtual bool on_device() const { return false; }
  // Collective, before the first all-reduce of a tensor on `device`; again is nothing. `gpu` says which it is (PCI bus id). Throws UserError
  // naming both ranks when two would use one GPU and the communicator can't share it.
  virtual void use_device(Device /*device*/, const std::string& /*gpu*/) {}
  // Around the recording of a step, on all ranks. Between the two, all-reduces are recorded, and nobody watches over them.
  virtual void begin_recorded_step() {}
  virtual void end_recorded_step() {}
  // After each replay of the recorded step, on all ranks: watches over what the compute stream has been given so far.
  virtual void watch(std::int64_t /*step*/) {}
  // Throws if this rank has failed, as every call does; doesn't wait. Ask before believing what a device has computed: when a peer
  // is lost, the device's work ends, but its results are worthless.
  virtual void check() {}

  // What this rank is doing, for verdicts: "last seen in data_wait of step 41". `activity` must be a string literal.
  virtual void set_activity(std::int64_t step, const char* activity) = 0;
  virtual void set_report_dir(const std::string& directory) = 0;
  // For phases that may lawfully take longer (a checkpoint to a slow disk). Set it alike on all ranks.
  virtual void set_deadline(double seconds) = 0;

  // Ends all ranks with this exit code. MPI: doesn't return. Local: peers' calls throw EnvironmentError(code); returns.
  virtual void abort(ExitCode code, const std::string& message) = 0;
  // Clean end: a barrier, then the transport is closed. Call it once, as the last thing, on every rank.
  virtual void finalize() = 0;

  // Built on the above.
  void barrier() { barrier("barrier"); }
  std::vector<std::string> all_gather_strings(std::string_view mine, std::string_view label = "gather of strings");
  std::string broadcast_string(std::string_view from_root, int root, std::string_view label = "broadcast of a string");
  template <class T>
  std::vector<T> all_gather_values(const T& mine, std::string_view label = "gather of values") {
    static_assert(std::is_trivially_copyable_v<T>);
    std::vector<T> all(static_cast<std::size_t>(size()));
    all_gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)), label);
    return all;
  }
  template <class T>
  T broadcast_value(T value, int root, std::string_view label = "broadcast of a value") {
    static_assert(std::is_trivially_copyable_v<T>);
    broadcast(std::as_writable_bytes(std::span(&value, 1)), root, label);
    return value;
  }
};

enum class CommunicatorKind : std::uint8_t { kAuto, kLocal, kMpi, kNccl };

// kAuto: MPI if the process was started by mpirun or srun (see launch_environment.h), else one local rank, without
// touching MPI. kNccl: as kAuto, and several ranks reduce on their GPUs (use_device must follow). Throws UserError when the
// launcher belongs to another MPI than ours, EnvironmentError when MPI won't start or this build has no NCCL.
std::unique_ptr<Communicator> make_communicator(CommunicatorKind kind, const CommunicatorOptions& options = {});

// Ends all ranks of an MPI job, also when its communicator has been destroyed by an exception on the way out. Doesn't
// return if this process is part of a running MPI job, else does nothing. For main()'s catch block.
void abort_job(ExitCode code);

// One rank alone: every operation completes at once, nothing is started.
std::unique_ptr<Communicator> make_solo_communicator();

}  // namespace lockstep
