// SPDX-License-Identifier: Apache-2.0
#include "distributed/device_collectives.h"

#include <algorithm>
#include <array>
#include <utility>

#include "distributed/collectives.h"
#include "distributed/device_memory.h"

namespace lockstep {
namespace {

// A launch and its handshake cost about 15 us; in that time 25 GB/s (a network card) move 0.4 MB and links between GPUs ten times
// as much. Up to here, doubling the launches costs more than the bytes that it saves.
constexpr std::size_t kSmallBytes = std::size_t{1} << 20;
constexpr std::int64_t kAlignment = 64;  // elements: pieces begin where whole vectors do

struct Halves {
  Range kept, given;
};

// Without encoding, where a buffer is cut doesn't change its sums. With it, it decides which rank rounds what: cut like Collectives.
Halves halves(Range parent, bool left, bool encoded) {
  std::int64_t half = parent.size() / 2;
  if (!encoded) half = std::min((half + kAlignment - 1) / kAlignment * kAlignment, parent.size());
  const Range low{parent.begin, parent.begin + half}, high{parent.begin + half, parent.end};
  return left ? Halves{low, high} : Halves{high, low};
}

}  // namespace

bool DeviceCollectives::is_small(std::size_t nbytes, const ReduceOptions& options) const {
  return nbytes <= kSmallBytes && options.wire == WireFormat::kNative;
}

void DeviceCollectives::grow(Tensor& memory, std::size_t nbytes) {
  if (memory && memory.nbytes() >= nbytes) return;
  if (memory) outgrown_.push_back(std::move(memory));
  memory = lasting_device_memory(Shape{static_cast<std::int64_t>(nbytes)}, DType::kU8, accelerator_.device());
}

void DeviceCollectives::reserve(const View& buffer, const ReduceOptions& options) {
  if (size_ == 1) return;
  const std::int64_t numel = buffer.numel();
  const std::size_t width = dtype_size(buffer.dtype);
  if (options.wire == WireFormat::kBF16) grow(image_, static_cast<std::size_t>(numel) * sizeof(bf16));
  if (options.order == ReduceOrder::kFast) return;
  const bool whole = is_small(static_cast<std::size_t>(numel) * width, options);
  grow(received_, static_cast<std::size_t>(whole ? numel : numel / 2 + kAlignment) * width);
}

void DeviceCollectives::all_reduce(Stream stream, const View& buffer, const ReduceOptions& options) {
  const Job job{.stream = stream, .data = static_cast<std::byte*>(buffer.ptr), .numel = buffer.numel(), .dtype = buffer.dtype,
                .encoded = options.wire == WireFormat::kBF16 && size_ > 1, .divisor = options.divisor};
  if (size_ == 1)
    divide(job, {0, job.numel});
  else if (options.order == ReduceOrder::kFast)
    reduce_by_transport(job);
  else if (is_small(static_cast<std::size_t>(job.numel) * job.width(), options))
    reduce_small_by_tree(job);
  else
    reduce_by_tree(job);
}

void DeviceCollectives::reduce_by_tree(const Job& job) {
  std::array<Halves, 32> levels;
  std::size_t depth = 0;
  Range mine{0, job.numel};
  auto* received = static_cast<std::byte*>(received_.ptr());
  for (int distance = 1; distance < size_; distance *= 2) {
    const bool left = (rank_ & distance) == 0;
    const Halves& level = levels[depth++] = halves(mine, left, job.encoded);
    if (job.encoded) encode(job, level.given);
    exchange(job, rank_ ^ distance, level.given, level.kept, received);
    if (job.encoded) decode(job, level.kept, received);
    add(job, level.kept, left, received);
    mine = level.kept;
  }
  divide(job, mine);
  if (job.encoded) encode(job, mine);
  for (int distance = size_ / 2; distance >= 1; distance /= 2) {
    const Halves& level = levels[--depth];
    exchange(job, rank_ ^ distance, level.kept, level.given, job.at(level.given.begin));
  }
  if (job.encoded) decode(job, {0, job.numel}, job.data);  // rounds this rank's piece too
}

void DeviceCollectives::reduce_small_by_tree(const Job& job) {
  const Range all{0, job.numel};
  auto* received = static_cast<std::byte*>(received_.ptr());
  for (int distance = 1; distance < size_; distance *= 2) {
    exchange(job, rank_ ^ distance, all, all, received);
    add(job, all, (rank_ & distance) == 0, received);
  }
  divide(job, all);
}

void DeviceCollectives::reduce_by_transport(const Job& job) {
  const Range all{0, job.numel};
  if (job.encoded) {
    encode(job, all);
    transport_->all_reduce(job.stream, DType::kBF16, image(0), job.numel);
    decode(job, all, job.data);
  } else {
    transport_->all_reduce(job.stream, job.dtype, job.data, job.numel);
  }
  divide(job, all);
}

void DeviceCollectives::exchange(const Job& job, int peer, Range out, Range in, std::byte* to) {
  const std::size_t width = job.encoded ? sizeof(bf16) : job.width();
  transport_->exchange(job.stream, peer, job.encoded ? image(out.begin) : job.at(out.begin), static_cast<std::size_t>(out.size()) * width,
                      job.encoded ? image(in.begin) : to, static_cast<std::size_t>(in.size()) * width);
}

void DeviceCollectives::add(const Job& job, Range piece, bool left, const std::byte* theirs) {
  if (piece.size() == 0) return;
  std::byte* mine = job.at(piece.begin);
  accelerator_.add(job.stream, job.dtype, mine, left ? mine : theirs, left ? theirs : mine, piece.size());
}

void DeviceCollectives::divide(const Job& job, Range piece) {
  if (piece.size() > 0 && job.divisor != 1) accelerator_.divide(job.stream, job.dtype, job.at(piece.begin), piece.size(), job.divisor);
}

void DeviceCollectives::encode(const Job& job, Range piece) {
  if (piece.size() > 0) accelerator_.convert(job.stream, job.dtype, job.at(piece.begin), DType::kBF16, image(piece.begin), piece.size());
}

void DeviceCollectives::decode(const Job& job, Range piece, std::byte* to) {
  if (piece.size() > 0) accelerator_.convert(job.stream, DType::kBF16, image(piece.begin), job.dtype, to, piece.size());
}

std::byte* DeviceCollectives::image(std::int64_t element) {
  return static_cast<std::byte*>(image_.ptr()) + static_cast<std::size_t>(element) * sizeof(bf16);
}

}  // namespace lockstep
