// DeviceCollectives: Collectives' algorithms for tensors on a device, given to a stream at once. The same trees, so the same bits
// as messages between hosts (kFast: the transport's own order).
//
// Large buffers go by recursive halving and doubling: each rank sends 2 * (W - 1) / W of the buffer, all ranks at all times. Small
// ones are exchanged whole at every level of the tree: half as many launches, which is what they cost.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "core/accelerator.h"
#include "distributed/communicator.h"
#include "distributed/device_transport.h"
#include "distributed/rank_sum.h"

namespace lockstep {

class DeviceCollectives {
 public:
  // `transport`: not needed for one rank.
  DeviceCollectives(DeviceTransport* transport, Accelerator& accelerator, int rank, int size)
      : transport_(transport), accelerator_(accelerator), rank_(rank), size_(size) {}

  // Takes the memory that all_reduce needs beside the buffer, if it wasn't taken before. Its first use must come after what the
  // compute stream has been given by now.
  void reserve(const View& buffer, const ReduceOptions& options);
  void all_reduce(Stream stream, const View& buffer, const ReduceOptions& options);

 private:
  struct Job {  // the all-reduce under way
    Stream stream;
    std::byte* data = nullptr;
    std::int64_t numel = 0;
    DType dtype = DType::kF32;
    bool encoded = false;  // bf16 on the wire
    std::int64_t divisor = 1;
    std::size_t width() const { return dtype_size(dtype); }
    std::byte* at(std::int64_t element) const { return data + static_cast<std::size_t>(element) * width(); }
  };
  bool is_small(std::size_t nbytes, const ReduceOptions& options) const;
  void reduce_by_tree(const Job& job);
  void reduce_small_by_tree(const Job& job);
  void reduce_by_transport(const Job& job);
  // Both halves of a level: sends `out`, receives `in` into `to` (not encoded) or into the bf16 image.
  void exchange(const Job& job, int peer, Range out, Range in, std::byte* to);
  void add(const Job& job, Range piece, bool left, const std::byte* theirs);
  void divide(const Job& job, Range piece);
  void encode(const Job& job, Range piece);
  void decode(const Job& job, Range piece, std::byte* to);
  std::byte* image(std::int64_t element);
  void grow(Tensor& memory, std::size_t nbytes);

  DeviceTransport* transport_;
  Accelerator& accelerator_;
  const int rank_, size_;
  Tensor received_;              // what arrives, in the buffer's dtype
  Tensor image_;                 // the buffer in bf16
  std::vector<Tensor> outgrown_; // kept: queued or recorded work may still use them
};

}  // namespace lockstep
