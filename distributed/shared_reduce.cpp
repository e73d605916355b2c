// SPDX-License-Identifier: Apache-2.0
#include "distributed/shared_reduce.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "distributed/collectives.h"

namespace lockstep {
namespace {

// Of each rank's buffer. Two to four of them fit the second-level cache, and a claim's cost doesn't count.
constexpr std::size_t kChunkBytes = std::size_t{128} << 10;
// A stage is the operation's number times this, plus how far it has come.
constexpr std::uint64_t kStages = 4;
enum Stage { kArrived = 1, kSummed = 2, kGathered = 3 };

// Equal on all ranks of one operation, or they run different programs.
std::uint64_t describe(const ReduceOptions& options, DType dtype) {
  return static_cast<std::uint64_t>(dtype) | static_cast<std::uint64_t>(options.order) << 8 |
         static_cast<std::uint64_t>(options.wire) << 16 | static_cast<std::uint64_t>(options.divisor) << 24;
}

RankSum::Job sum_job(const ReduceOptions& options, DType dtype, bool last) {
  return {.dtype = dtype, .order = options.order, .encoded = options.wire == WireFormat::kBF16, .divisor = options.divisor,
          .last = last};
}

}  // namespace

SharedReduce::SharedReduce(std::vector<std::shared_ptr<SharedSegment>> segments, int rank, Waiter& waiter)
    : segments_(std::move(segments)),
      rank_(rank),
      waiter_(waiter),
      pool_(std::make_shared<SharedPool>(segments_[static_cast<std::size_t>(rank)])),
      sum_(std::make_unique<RankSum>()),
      buffers_(segments_.size()) {}

Tensor SharedReduce::make_buffer(const Shape& shape, DType dtype) {
  Tensor tensor = Tensor::empty_in(*pool_, shape, dtype);
  std::memset(tensor.ptr(), 0, tensor.nbytes());
  return tensor;
}

// The buffer's pieces, one for each rank that would own it if messages were sent, cut into chunks. The owner matters to the
// ring's order and to bf16's rounding; the tree without rounding gives the same bits whoever owns a chunk.
struct SharedReduce::Chunks {
  std::int64_t numel, chunk_numel;
  int ranks;
  ReduceOrder order;

  Range piece(int owner) const {
    return order == ReduceOrder::kFixedTree ? halved_range(numel, owner, ranks) : ring_piece(numel, (owner + 1) % ranks, ranks);
  }
  std::uint64_t count(int owner) const { return static_cast<std::uint64_t>((piece(owner).size() + chunk_numel - 1) / chunk_numel); }
  std::uint64_t count() const {
    std::uint64_t total = 0;
    for (int owner = 0; owner < ranks; ++owner) total += count(owner);
    return total;
  }
  std::pair<int, Range> chunk(std::uint64_t index) const {
    int owner = 0;
    for (; index >= count(owner); ++owner) index -= count(owner);
    const Range whole = piece(owner);
    const std::int64_t first = whole.begin + static_cast<std::int64_t>(index) * chunk_numel;
    return {owner, {first, std::min(first + chunk_numel, whole.end)}};
  }
};

void SharedReduce::all_reduce(View buffer, const ReduceOptions& options) {
  begin(buffer, options);
  const RankSum::Job job = sum_job(options, buffer.dtype, true);
  const Chunks chunks{buffer.numel(), static_cast<std::int64_t>(kChunkBytes / dtype_size(buffer.dtype)), size(), options.order};
  const std::uint64_t first = chunks_, end = first + chunks.count();
  chunks_ = end;
  SegmentHeader& shared = segments_[0]->header();
  std::uint64_t next = shared.claimed.load(std::memory_order_relaxed);
  while (next < end) {
    if (!shared.claimed.compare_exchange_weak(next, next + 1, std::memory_order_relaxed)) continue;
    const auto [owner, range] = chunks.chunk(next - first);
    add_chunk(job, owner, range, true);
    shared.finished.fetch_add(1, std::memory_order_acq_rel);
    next = shared.claimed.load(std::memory_order_relaxed);
  }
  while (shared.finished.load(std::memory_order_acquire) < end) waiter_.pause();
  waiter_.progressed();
  copy_back(buffer);
}

std::byte* SharedReduce::reduce_within(View buffer, const ReduceOptions& options) {
  begin(buffer, options);
  const RankSum::Job job = sum_job(options, buffer.dtype, false);
  const Range mine = halved_range(buffer.numel(), rank_, size());
  const auto step = static_cast<std::int64_t>(kChunkBytes / dtype_size(buffer.dtype));
  for (std::int64_t first = mine.begin; first < mine.end; first += step)
    add_chunk(job, rank_, {first, std::min(first + step, mine.end)}, false);
  return work_;
}

void SharedReduce::gather_within(View buffer) {
  const auto width = static_cast<std::int64_t>(dtype_size(buffer.dtype));
  reach(kSummed);
  wait_for_all(kSummed);
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank_) continue;
    const Range theirs = halved_range(buffer.numel(), peer, size());
    std::memcpy(work_ + theirs.begin * width, buffers_[static_cast<std::size_t>(peer)] + theirs.begin * width, static_cast<std::size_t>(theirs.size() * width));
  }
  reach(kGathered);
  wait_for_all(kGathered);  // nobody reads this rank's buffer any more
  copy_back(buffer);
}

// Shows this rank's values and waits until all ranks have shown theirs.
std::byte* SharedReduce::begin(View buffer, const ReduceOptions& options) {
  SharedSegment& own = *segments_[static_cast<std::size_t>(rank_)];
  const std::size_t nbytes = static_cast<std::size_t>(buffer.numel()) * dtype_size(buffer.dtype);
  work_ = static_cast<std::byte*>(buffer.ptr);
  std::uint64_t offset = own.offset_of(buffer.ptr);
  if (offset == 0) {
    if (!staging_ || staging_.nbytes() < nbytes) {
      staging_ = {};
      staging_ = Tensor::empty_in(*pool_, Shape{static_cast<std::int64_t>(nbytes)}, DType::kU8);
    }
    work_ = static_cast<std::byte*>(staging_.ptr());
    std::memcpy(work_, buffer.ptr, nbytes);
    offset = own.offset_of(work_);
  }
  ++operations_;
  own.header().operations[operations_ % 2] = {offset, nbytes, describe(options, buffer.dtype)};
  reach(kArrived);
  wait_for_all(kArrived);
  for (int peer = 0; peer < size(); ++peer) check_peer(peer);
  return work_;
}

void SharedReduce::check_peer(int peer) {
  const auto operation_of = [this](int rank) { return segments_[static_cast<std::size_t>(rank)]->header().operations[operations_ % 2]; };
  const SegmentHeader::Operation own = operation_of(rank_), theirs = operation_of(peer);
  LS_CHECK(theirs.nbytes == own.nbytes && theirs.description == own.description,
           fmt::format("rank {} of this host reduces {} bytes (kind {:x}), rank {} expected {} bytes (kind {:x})", peer,
                       theirs.nbytes, theirs.description, rank_, own.nbytes, own.description));
  buffers_[static_cast<std::size_t>(peer)] = segments_[static_cast<std::size_t>(peer)]->at(theirs.offset);
}

void SharedReduce::reach(int stage) {
  segments_[static_cast<std::size_t>(rank_)]->header().stage.store(operations_ * kStages + static_cast<std::uint64_t>(stage),
                                                                   std::memory_order_release);
}

void SharedReduce::wait_for_all(int stage) {
  const std::uint64_t wanted = operations_ * kStages + static_cast<std::uint64_t>(stage);
  for (const auto& segment : segments_)
    while (segment->header().stage.load(std::memory_order_acquire) < wanted) waiter_.pause();
  waiter_.progressed();
}

void SharedReduce::add_chunk(const RankSum::Job& job, int owner, Range range, bool everywhere) {
  const auto width = static_cast<std::int64_t>(dtype_size(job.dtype));
  std::array<const std::byte*, RankSum::kMaxRanks> sources;
  std::array<std::byte*, RankSum::kMaxRanks> destinations;
  const auto count = segments_.size();
  for (std::size_t r = 0; r < count; ++r) {
    destinations[r] = buffers_[r] + range.begin * width;
    sources[r] = destinations[r];
  }
  if (!everywhere) destinations[0] = destinations[static_cast<std::size_t>(rank_)];
  sum_->add(job, owner, std::span(sources).first(count), std::span(destinations).first(everywhere ? count : 1), range.size());
}

void SharedReduce::copy_back(View buffer) {
  if (work_ != buffer.ptr) std::memcpy(buffer.ptr, work_, static_cast<std::size_t>(buffer.numel()) * dtype_size(buffer.dtype));
}

}  // namespace lockstep
