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

#include "core/error.h"
#include "core/trace.h"

namespace lockstep {
namespace {

constexpr int kMaxThreads = 1024, kMaxDepth = 1024;
constexpr std::int64_t kLargePiece = 64;      // samples: more gain nothing against the lock
constexpr std::int64_t kPiecesPerThread = 4;  // so that a slow sample does not leave the others idle

int pieces_of(std::int64_t batch, int threads) {
  if (threads <= 1) return static_cast<int>((batch + kLargePiece - 1) / kLargePiece);
  const std::int64_t wanted = std::max(threads * kPiecesPerThread, (batch + kLargePiece - 1) / kLargePiece);
  return static_cast<int>(std::min(batch, wanted));
}

void check_range(const char* what, std::int64_t got, std::int64_t low, std::int64_t high) {
  if (got < low || got > high) throw UserError(fmt::format("loader: {}: got {}, want {} to {}.", what, got, low, high));
}

}  // namespace

BatchRing::BatchRing(SampleReader reader, std::unique_ptr<BatchPlan> plan, std::int64_t batch, int threads, int depth,
                     MemoryPool& memory)
    : reader_(std::move(reader)), plan_(std::move(plan)), batch_(batch) {
  check_range("batch", batch, 1, std::int64_t{1} << 30);
  check_range("threads", threads, 0, kMaxThreads);
  check_range("ring depth", depth, 1, kMaxDepth);
  pieces_ = pieces_of(batch, threads);
  slots_.resize(static_cast<std::size_t>(depth));
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].images = Tensor::empty_in(memory, {batch, reader_.channels(), reader_.height(), reader_.width()}, DType::kU8);
    slots_[i].labels = Tensor::empty_in(memory, {batch}, DType::kI32);
    slots_[i].ids.resize(static_cast<std::size_t>(batch));
    slots_[i].number = static_cast<std::int64_t>(i);
  }
  scratch_.resize(static_cast<std::size_t>(std::max(threads, 1)));
  start_threads(threads);
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
      threads_.emplace_back([this, i] { work(scratch_[static_cast<std::size_t>(i)]); });
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

void BatchRing::work(SampleScratch& scratch) {
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
      fill(piece, scratch);
    } catch (...) {
      failure = std::current_exception();
    }
    finish(piece, std::move(failure));
  }
}

void BatchRing::fill(const Piece& piece, SampleScratch& scratch) {
  BatchSlot& slot = *piece.slot;
  const std::int64_t begin = batch_ * piece.index / pieces_, end = batch_ * (piece.index + 1) / pieces_;
  const TraceScope trace(SpanKind::kLoader, "fill", end - begin);
  const auto ids = std::span(slot.ids).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  plan_->ids(slot.number, begin, ids);
  const std::int64_t image_bytes = reader_.image_bytes();
  std::uint8_t* pixels = slot.images.host<std::uint8_t>().data() + begin * image_bytes;
  std::int32_t* label = slot.labels.host<std::int32_t>().data() + begin;
  for (std::int64_t& id : ids) {
    if (stopping_.load(std::memory_order_relaxed)) return;  // nobody will see this batch
    if (id < 0) {
      std::memset(pixels, 0, static_cast<std::size_t>(image_bytes));
      *label = -1;
    } else {
      id = reader_.read(id, slot.tag.epoch, scratch, pixels);
      *label = reader_.label(id);
    }
    pixels += image_bytes;
    ++label;
  }
}

void BatchRing::finish(const Piece& piece, std::exception_ptr failure) {
  const std::lock_guard lock(mutex_);
  BatchSlot& slot = *piece.slot;
  if (failure && (!slot.failure || piece.index < slot.failed_piece)) {
    slot.failure = std::move(failure);
    slot.failed_piece = piece.index;
  }
  if (++slot.pieces_done == pieces_ && slot.number == next_number_) batch_ready_.notify_one();
}

void BatchRing::fill_here(BatchSlot& slot) {
  slot.tag = plan_->tag(slot.number);
  for (int piece = 0; piece < pieces_; ++piece) fill({&slot, piece}, scratch_[0]);
  slot.pieces_done = pieces_;
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
    slot.number += static_cast<std::int64_t>(slots_.size());
  }
  work_there_.notify_all();
}

LoaderStats BatchRing::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace lockstep
