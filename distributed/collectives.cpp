// SPDX-License-Identifier: Apache-2.0
#include "distributed/collectives.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "distributed/shared_reduce.h"
#include "distributed/vector_add.h"

namespace lockstep {
namespace {

constexpr int kInFlight = 4;  // chunks under way in each direction
// Up to here everybody exchanges everything: half as many messages, more bytes. Same tree, same bits.
constexpr std::size_t kSmallBytes = std::size_t{8} << 10;

}  // namespace

bool is_power_of_two(std::int64_t n) { return n > 0 && std::has_single_bit(static_cast<std::uint64_t>(n)); }

// Tests all of them in turn: a transport may move a message only while its receiver tests it, so waiting for one after
// the other could wait for ever.
void Collectives::wait(std::span<Request> requests) {
  while (true) {
    bool all = true;
    for (Request& request : requests) all = transport_.test(request) && all;
    if (all) break;
    waiter_.pause();
  }
  waiter_.progressed();
}

std::byte* Collectives::scratch(int index, std::size_t nbytes) {
  if (scratch_.size() <= static_cast<std::size_t>(index)) scratch_.resize(static_cast<std::size_t>(index) + 1);
  auto& block = scratch_[static_cast<std::size_t>(index)];
  if (block.size() < nbytes) block.resize(nbytes);
  return block.data();
}

void Collectives::all_reduce(View buffer, const ReduceOptions& options, int tag) {
  const Job job{.data = static_cast<std::byte*>(buffer.ptr), .numel = buffer.numel(), .dtype = buffer.dtype,
                .encoded = options.wire == WireFormat::kBF16, .divisor = options.divisor, .tag = tag};
  const std::size_t nbytes = static_cast<std::size_t>(job.numel) * dtype_size(job.dtype);
  if (group_ != nullptr && group_->size() == transport_.size())
    group_->all_reduce(buffer, options);
  else if (options.order == ReduceOrder::kFast)
    reduce_by_ring(job);
  else if (nbytes <= kSmallBytes && !job.encoded)
    reduce_small_by_tree(job);
  else if (group_ != nullptr)
    reduce_in_group(buffer, options, job);
  else
    reduce_by_tree(job, 1);
}

// The first levels of the tree without messages.
void Collectives::reduce_in_group(View buffer, const ReduceOptions& options, Job job) {
  job.data = group_->reduce_within(buffer, options);
  reduce_by_tree(job, group_->size());
  group_->gather_within(buffer);
}

// The owner of a piece has its final sum: what everybody will get.
void Collectives::finish_piece(const Job& job, Range piece) {
  divide_array(job.dtype, job.at(piece.begin), piece.size(), job.divisor);
  if (job.encoded) round_to_bf16(reinterpret_cast<float*>(job.at(piece.begin)), piece.size());
}

// From the level at which the sums of `group` ranks each are halved among them already.
void Collectives::reduce_by_tree(const Job& job, int group) {
  const int rank = transport_.rank(), size = transport_.size();
  std::array<Range, 32> parents;
  int depth = 0;
  Range mine = halved_range(job.numel, rank, group);
  const auto halves = [rank](Range parent, int distance) {
    const std::int64_t middle = parent.begin + parent.size() / 2;
    const Range low{parent.begin, middle}, high{middle, parent.end};
    return (rank & distance) == 0 ? std::pair(low, high) : std::pair(high, low);  // kept, given away
  };
  for (int distance = group; distance < size; distance *= 2) {
    const auto [kept, given] = halves(mine, distance);
    const bool left = (rank & distance) == 0;
    exchange(job, rank ^ distance, given, rank ^ distance, kept, left ? Combine::kLocalLeft : Combine::kRemoteLeft);
    parents[static_cast<std::size_t>(depth++)] = mine;
    mine = kept;
  }
  finish_piece(job, mine);
  for (int distance = size / 2; distance >= group; distance /= 2) {
    const Range parent = parents[static_cast<std::size_t>(--depth)];
    const auto [kept, given] = halves(parent, distance);
    exchange(job, rank ^ distance, kept, rank ^ distance, given, Combine::kStore);
  }
}

void Collectives::reduce_small_by_tree(const Job& job) {
  const int rank = transport_.rank();
  const std::size_t nbytes = static_cast<std::size_t>(job.numel) * dtype_size(job.dtype);
  for (int distance = 1; distance < transport_.size(); distance *= 2) {
    std::byte* theirs = scratch(0, nbytes);
    std::array requests{transport_.receive(rank ^ distance, job.tag, theirs, nbytes),
                        transport_.send(rank ^ distance, job.tag, job.data, nbytes)};
    wait(requests);
    const bool left = (rank & distance) == 0;
    add_arrays(job.dtype, job.data, left ? job.data : theirs, left ? theirs : job.data, job.numel);
  }
  divide_array(job.dtype, job.data, job.numel, job.divisor);
}

void Collectives::reduce_by_ring(const Job& job) {
  const int rank = transport_.rank(), size = transport_.size();
  const int next = (rank + 1) % size, previous = (rank + size - 1) % size;
  const auto piece = [&](int index) { return ring_piece(job.numel, ((index % size) + size) % size, size); };
  for (int step = 0; step < size - 1; ++step)
    exchange(job, next, piece(rank - step), previous, piece(rank - step - 1), Combine::kRemoteLeft);
  finish_piece(job, piece(rank + 1));
  for (int step = 0; step < size - 1; ++step)
    exchange(job, next, piece(rank + 1 - step), previous, piece(rank - step), Combine::kStore);
}

// One direction pair of chunk queues. Chunk c of a range uses slot c % kInFlight.
struct Collectives::Window {
  int to = 0, from = 0;
  Range out, in;
  Combine combine = Combine::kStore;
  std::int64_t chunk_numel = 0, out_chunks = 0, in_chunks = 0;
  std::int64_t sent = 0, send_posted = 0, received = 0, receive_posted = 0;
  std::array<Request, kInFlight> send_requests, receive_requests;

  Range chunk(Range range, std::int64_t index) const {
    const std::int64_t begin = range.begin + index * chunk_numel;
    return {begin, std::min(begin + chunk_numel, range.end)};
  }
  bool done() const { return sent == out_chunks && received == in_chunks; }
};

void Collectives::exchange(const Job& job, int to, Range out, int from, Range in, Combine combine) {
  Window window{.to = to, .from = from, .out = out, .in = in, .combine = combine};
  window.chunk_numel = static_cast<std::int64_t>(chunk_bytes_ / (job.encoded ? sizeof(bf16) : dtype_size(job.dtype)));
  window.out_chunks = (out.size() + window.chunk_numel - 1) / window.chunk_numel;
  window.in_chunks = (in.size() + window.chunk_numel - 1) / window.chunk_numel;
  while (true) {
    const bool received = pump_receives(job, window);
    const bool sent = pump_sends(job, window);
    if (window.done()) return;
    if (received || sent)
      waiter_.progressed();
    else
      waiter_.pause();
  }
}

bool Collectives::pump_sends(const Job& job, Window& window) {
  bool progressed = false;
  while (window.sent < window.send_posted &&
         transport_.test(window.send_requests[static_cast<std::size_t>(window.sent % kInFlight)])) {
    ++window.sent;
    progressed = true;
  }
  while (window.send_posted < window.out_chunks && window.send_posted - window.sent < kInFlight) {
    const Range chunk = window.chunk(window.out, window.send_posted);
    const int slot = static_cast<int>(window.send_posted % kInFlight);
    const void* data = job.at(chunk.begin);
    std::size_t nbytes = static_cast<std::size_t>(chunk.size()) * dtype_size(job.dtype);
    if (job.encoded) {
      nbytes = static_cast<std::size_t>(chunk.size()) * sizeof(bf16);
      std::byte* encoded = scratch(kInFlight + slot, chunk_bytes_);
      encode_bf16(reinterpret_cast<bf16*>(encoded), reinterpret_cast<const float*>(job.at(chunk.begin)), chunk.size());
      data = encoded;
    }
    window.send_requests[static_cast<std::size_t>(slot)] = transport_.send(window.to, job.tag, data, nbytes);
    ++window.send_posted;
    progressed = true;
  }
  return progressed;
}

bool Collectives::pump_receives(const Job& job, Window& window) {
  bool progressed = false;
  while (window.received < window.receive_posted &&
         transport_.test(window.receive_requests[static_cast<std::size_t>(window.received % kInFlight)])) {
    absorb(job, window, window.received);
    ++window.received;
    progressed = true;
  }
  while (window.receive_posted < window.in_chunks && window.receive_posted - window.received < kInFlight) {
    const Range chunk = window.chunk(window.in, window.receive_posted);
    const int slot = static_cast<int>(window.receive_posted % kInFlight);
    const bool in_place = window.combine == Combine::kStore && !job.encoded;
    const std::size_t width = job.encoded ? sizeof(bf16) : dtype_size(job.dtype);
    void* data = in_place ? job.at(chunk.begin) : scratch(slot, chunk_bytes_);
    window.receive_requests[static_cast<std::size_t>(slot)] =
        transport_.receive(window.from, job.tag, data, static_cast<std::size_t>(chunk.size()) * width);
    ++window.receive_posted;
    progressed = true;
  }
  return progressed;
}

// Takes in a chunk that has arrived.
void Collectives::absorb(const Job& job, const Window& window, std::int64_t index) {
  const Range chunk = window.chunk(window.in, index);
  const int slot = static_cast<int>(index % kInFlight);
  std::byte* local = job.at(chunk.begin);
  if (window.combine == Combine::kStore) {
    if (job.encoded)
      decode_bf16(reinterpret_cast<float*>(local), reinterpret_cast<const bf16*>(scratch(slot, chunk_bytes_)), chunk.size());
    return;
  }
  const std::byte* remote = scratch(slot, chunk_bytes_);
  if (job.encoded) {
    std::byte* decoded = scratch(2 * kInFlight, chunk_bytes_ * 2);
    decode_bf16(reinterpret_cast<float*>(decoded), reinterpret_cast<const bf16*>(remote), chunk.size());
    remote = decoded;
  }
  if (window.combine == Combine::kLocalLeft)
    add_arrays(job.dtype, local, local, remote, chunk.size());
  else
    add_arrays(job.dtype, local, remote, local, chunk.size());
}

void Collectives::all_gather(std::span<const std::byte> mine, std::span<std::byte> all, int tag) {
  const int rank = transport_.rank(), size = transport_.size();
  const std::size_t each = mine.size();
  std::memcpy(all.data() + static_cast<std::size_t>(rank) * each, mine.data(), each);
  if (is_power_of_two(size)) {
    for (int distance = 1; distance < size; distance *= 2) {
      const auto block = [&](int of) { return all.data() + static_cast<std::size_t>(of & ~(distance - 1)) * each; };
      const std::size_t nbytes = static_cast<std::size_t>(distance) * each;
      std::array requests{transport_.receive(rank ^ distance, tag, block(rank ^ distance), nbytes),
                          transport_.send(rank ^ distance, tag, block(rank), nbytes)};
      wait(requests);
    }
    return;
  }
  std::vector<Request> requests;
  for (int step = 1; step < size; ++step) {
    const int to = (rank + step) % size, from = (rank + size - step) % size;
    requests.push_back(transport_.receive(from, tag, all.data() + static_cast<std::size_t>(from) * each, each));
    requests.push_back(transport_.send(to, tag, mine.data(), each));
  }
  wait(requests);
}

// Binomial tree from the root.
void Collectives::broadcast(std::span<std::byte> bytes, int root, int tag) {
  const int size = transport_.size();
  const int relative = (transport_.rank() - root + size) % size;
  int distance = 1;
  while (distance < size && (relative & distance) == 0) distance *= 2;
  if (relative != 0) {
    Request in = transport_.receive((relative - distance + root) % size, tag, bytes.data(), bytes.size());
    wait(std::span(&in, 1));
  }
  for (distance /= 2; distance >= 1; distance /= 2) {
    if (relative + distance >= size) continue;
    Request out = transport_.send((relative + distance + root) % size, tag, bytes.data(), bytes.size());
    wait(std::span(&out, 1));
  }
}

}  // namespace lockstep
