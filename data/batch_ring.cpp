// SPDX-License-Identifier: Apache-2.0
#include "data/batch_ring.h"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/trace.h"

namespace lockstep {
namespace {

constexpr int kMaxThreads = 1024, kMaxDepth = 1024;
constexpr std::int64_t kLargePiece = 64;      // samples: more gain nothing against the lock
constexpr std::int64_t kPiecesPerThread = 4;  // so that a slow sample does not leave the others idle

// How far ahead of the decoding files are asked for: enough requests to keep a disk's queue full, and for every thread the
// piece after its next one. More would only be read too early.
constexpr std::int64_t kSamplesAhead = 128;
constexpr int kPiecesAheadPerThread = 2;

void check_range(const char* what, std::int64_t got, std::int64_t low, std::int64_t high) {
  if (got < low || got > high) throw UserError(fmt::format("loader: {}: got {}, want {} to {}.", what, got, low, high));
}

// Into how many pieces a batch is cut; checks the options on the way.
int pieces_of(const RingOptions& options) {
  check_range("batch", options.batch, 1, std::int64_t{1} << 30);
  check_range("threads", options.threads, 0, kMaxThreads);
  check_range("ring depth", options.depth, 1, kMaxDepth);
  const std::int64_t large = (options.batch + kLargePiece - 1) / kLargePiece;
  if (options.threads <= 1) return static_cast<int>(large);
  return static_cast<int>(std::min(options.batch, std::max(options.threads * kPiecesPerThread, large)));
}

int pieces_ahead_of(const RingOptions& options, int pieces) {
  const std::int64_t samples = std::max<std::int64_t>(options.batch / pieces, 1);  // of a piece
  return static_cast<int>(std::max<std::int64_t>((kSamplesAhead + samples - 1) / samples, kPiecesAheadPerThread * options.threads));
}

}  // namespace

void BatchPlan::mix(const BatchTag&, int, int, std::span<const std::int32_t>, std::span<MixRow>) const {
  LS_CHECK(false, "this plan's batches carry no mix rows");
}

BatchRing::BatchRing(SampleReader reader, std::unique_ptr<BatchPlan> plan, const RingOptions& options)
    : reader_(std::move(reader)),
      plan_(std::move(plan)),
      batch_(options.batch),
      misses_(options.misses),
      pieces_(pieces_of(options)),
      pieces_ahead_(pieces_ahead_of(options, pieces_)) {
  allocate(options);
  start_threads(options.threads);
}

void BatchRing::allocate(const RingOptions& options) {
  MemoryPool& memory = options.memory != nullptr ? *options.memory : cpu_pool();
  const auto count = static_cast<std::size_t>(batch_);
  slots_.resize(static_cast<std::size_t>(options.depth));
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    BatchSlot& slot = slots_[i];
    slot.images = Tensor::empty_in(memory, {batch_, reader_.channels(), reader_.height(), reader_.width()}, DType::kU8);
    slot.labels = Tensor::empty_in(memory, {batch_}, DType::kI32);
    if (plan_->mixes()) slot.mix = Tensor::empty_in(memory, {batch_, kMixRowWords}, DType::kI32);
    slot.ids.resize(count);
    if (misses_ != nullptr) slot.misses.reserve(count);
    slot.number = static_cast<std::int64_t>(i);
  }
  workers_.resize(static_cast<std::size_t>(std::max(options.threads, 1)));
  const bool announces = reader_.source().encoded();
  for (Worker& worker : workers_)
    if (announces) worker.ids_ahead.resize(static_cast<std::size_t>((batch_ + pieces_ - 1) / pieces_));
  stats_.threads = static_cast<int>(workers_.size());
}

void BatchRing::start_threads(int threads) {
  // Signals are for the thread that trains: workers start with all of them blocked.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  threads_.reserve(static_cast<std::size_t>(threads));
  std::string failure;
  try {
    for (int i = 0; i < threads; ++i) {
      threads_.emplace_back([this, i] { work(workers_[static_cast<std::size_t>(i)]); });
      pthread_setname_np(threads_.back().native_handle(), "ls-loader");
    }
  } catch (const std::system_error& error) {
    failure = error.what();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (failure.empty()) return;
  stop();
  throw EnvironmentError(fmt::format("loader: starting {} threads: {}", threads, failure));
}

BatchRing::~BatchRing() { stop(); }

void BatchRing::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_there_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool BatchRing::piece_available() const {
  const BatchSlot& slot = slots_[static_cast<std::size_t>(fill_number_) % slots_.size()];
  return slot.number == fill_number_ && !slot.held;
}

void BatchRing::work(Worker& worker) {
  for (;;) {
    Piece piece{};
    {
      std::unique_lock lock(mutex_);
      work_there_.wait(lock, [this] { return stopping_ || piece_available(); });
      if (stopping_) return;
      piece = {&slot_of(fill_number_), fill_piece_};
      if (fill_piece_ == 0) piece.slot->tag = plan_->tag(fill_number_);
      if (++fill_piece_ == pieces_) {
        fill_piece_ = 0;
        ++fill_number_;
      }
    }
    std::exception_ptr failure;
    try {
      fill(piece, worker);
    } catch (...) {
      failure = std::current_exception();
    }
    finish(piece, worker, std::move(failure));
  }
}

// Tells the source which samples a piece needs; which ones is known from the plan, at any time.
void BatchRing::announce(std::int64_t number, int piece, Worker& worker) const {
  const std::int64_t begin = begin_of(piece), end = begin_of(piece + 1);
  const auto ids = std::span(worker.ids_ahead).first(static_cast<std::size_t>(end - begin));
  plan_->ids(number, begin, ids);
  reader_.source().will_read(ids);
}

void BatchRing::read_ahead(const Piece& piece, Worker& worker) const {
  if (worker.ids_ahead.empty()) return;  // the source has all in memory
  const std::int64_t number = piece.slot->number;
  if (number * pieces_ + piece.index < pieces_ahead_) announce(number, piece.index, worker);  // nobody did so before
  const std::int64_t later = piece.index + pieces_ahead_;
  announce(number + later / pieces_, static_cast<int>(later % pieces_), worker);
}

void BatchRing::fill(const Piece& piece, Worker& worker) {
  BatchSlot& slot = *piece.slot;
  const std::int64_t begin = begin_of(piece.index), end = begin_of(piece.index + 1);
  const TraceScope trace(SpanKind::kLoader, "fill", end - begin);
  read_ahead(piece, worker);
  plan_->ids(slot.number, begin, std::span(slot.ids).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)));
  const std::int64_t image_bytes = reader_.image_bytes();
  std::uint8_t* pixels = slot.images.host<std::uint8_t>().data() + begin * image_bytes;
  for (std::int64_t i = begin; i < end; ++i, pixels += image_bytes) {
    if (stopping_.load(std::memory_order_relaxed)) return;  // nobody will see this batch
    std::int64_t& id = slot.ids[static_cast<std::size_t>(i)];
    std::int32_t& label = slot.labels.host<std::int32_t>()[static_cast<std::size_t>(i)];
    if (id < 0) {
      std::memset(pixels, 0, static_cast<std::size_t>(image_bytes));
      label = -1;
    } else if (misses_ != nullptr) {
      read_or_miss(slot, i, worker.scratch, pixels);
      label = reader_.label(id);
    } else {
      id = reader_.read(id, slot.tag.epoch, worker.scratch, pixels);
      label = reader_.label(id);
    }
  }
}

void BatchRing::read_or_miss(BatchSlot& slot, std::int64_t position, SampleScratch& scratch, std::uint8_t* pixels) {
  const std::int64_t id = slot.ids[static_cast<std::size_t>(position)];
  try {
    reader_.read(id, slot.tag.epoch, scratch, pixels);
  } catch (const UserError& error) {
    if (!is_of_the_sample(error)) throw;
    misses_->add({id, reader_.source().name(id), error.what()});
    std::memset(pixels, 0, static_cast<std::size_t>(reader_.image_bytes()));
    const std::lock_guard lock(misses_mutex_);
    slot.misses.push_back(position);
  }
}

void BatchRing::finish(const Piece& piece, Worker& worker, std::exception_ptr failure) {
  const std::lock_guard lock(mutex_);
  BatchSlot& slot = *piece.slot;
  stats_.stages += std::exchange(worker.scratch.times, {});
  if (failure && (!slot.failure || piece.index < slot.failed_piece)) {
    slot.failure = std::move(failure);
    slot.failed_piece = piece.index;
  }
  if (++slot.pieces_done < pieces_) return;
  complete(slot);
  if (slot.number == next_number_) batch_ready_.notify_one();
}

// What can be done only once all pieces are: labels are those of the images really read, whoever read them in which order.
void BatchRing::complete(BatchSlot& slot) {
  std::ranges::sort(slot.misses);
  if (!plan_->mixes() || slot.failure || stopping_) return;  // after a failure some labels were never written
  static_assert(alignof(MixRow) == alignof(std::int32_t));
  auto* rows = reinterpret_cast<MixRow*>(slot.mix.host<std::int32_t>().data());
  plan_->mix(slot.tag, reader_.height(), reader_.width(), slot.labels.host<std::int32_t>(),
             std::span(rows, static_cast<std::size_t>(batch_)));
}

void BatchRing::fill_here(BatchSlot& slot) {
  slot.tag = plan_->tag(slot.number);
  slot.misses.clear();  // of an attempt that failed
  for (int piece = 0; piece < pieces_; ++piece) fill({&slot, piece}, workers_[0]);
  stats_.stages += std::exchange(workers_[0].scratch.times, {});
  slot.pieces_done = pieces_;
  complete(slot);
}

BatchSlot& BatchRing::acquire() {
  using Clock = std::chrono::steady_clock;
  std::unique_lock lock(mutex_);
  BatchSlot& slot = slot_of(next_number_);
  LS_CHECK(!slot.held, fmt::format("all {} batches of the ring are held: release one before the next", slots_.size()));
  if (slot.pieces_done < pieces_) {
    const auto begin = Clock::now();
    if (threads_.empty())
      fill_here(slot);
    else
      batch_ready_.wait(lock, [&] { return slot.pieces_done == pieces_; });
    stats_.wait_ns += std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count();
    ++stats_.waits;
  }
  if (slot.failure) std::rethrow_exception(slot.failure);
  slot.held = true;
  ++next_number_;
  ++stats_.batches;
  return slot;
}

void BatchRing::release(BatchSlot& slot) {
  {
    const std::lock_guard lock(mutex_);
    slot.held = false;
    slot.pieces_done = 0;
    slot.misses.clear();
    slot.number += static_cast<std::int64_t>(slots_.size());
  }
  work_there_.notify_all();
}

LoaderStats BatchRing::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace lockstep
