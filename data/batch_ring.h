// BatchRing: a fixed ring of batches, filled in pieces by worker threads and handed out in order. The inside of both
// loaders; what is in batch number n is said by a BatchPlan, so contents and order cannot depend on the threads.
//
// A slot goes round: free -> filling (its pieces taken by workers) -> full -> held by the consumer -> free, for batch
// n + depth. Nothing is allocated after construction (libjpeg and libpng aside), nobody waits busily. Before a worker fills a
// piece it tells the source which files a later piece needs, so that the disk works while the processors decode.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "core/tensor.h"
#include "data/bad_samples.h"
#include "data/loader.h"
#include "data/mix.h"
#include "data/sample_reader.h"

namespace lockstep {

// Where batch n stands in the run.
struct BatchTag {
  std::int64_t step = 0;
  std::int64_t epoch = 0;
  int shard = 0;
};

class BatchPlan {
 public:
  virtual ~BatchPlan() = default;
  virtual BatchTag tag(std::int64_t n) const = 0;
  // The ids of samples first .. first + ids.size() - 1 of batch n; -1 is padding. Thread-safe.
  virtual void ids(std::int64_t n, std::int64_t first, std::span<std::int64_t> ids) const = 0;
  // Do batches carry mix rows? And the rows of a batch of images of this size, from its final labels. Thread-safe.
  virtual bool mixes() const { return false; }
  virtual void mix(const BatchTag& tag, int height, int width, std::span<const std::int32_t> labels, std::span<MixRow> rows) const;
};

// One batch's memory, made once.
struct BatchSlot {
  Tensor images;                  // (n, C, H, W) u8
  Tensor labels;                  // (n) i32
  Tensor mix;                     // (n, 8) i32, or empty
  std::vector<std::int64_t> ids;  // (n)
  BatchTag tag;
  std::vector<std::int64_t> misses;  // positions of unreadable images, in order once the batch is full
  // Guarded by the ring's mutex:
  std::int64_t number = 0;  // of the batch that it holds or will hold
  int pieces_done = 0;
  bool held = false;
  std::exception_ptr failure;  // of the lowest failing piece
  int failed_piece = 0;
};

struct RingOptions {
  std::int64_t batch = 0;
  int threads = 1;  // 0: acquire() fills the slot itself
  int depth = 4;
  MemoryPool* memory = nullptr;  // of the host, must outlive the ring; null: the host's pool
  BadSamples* misses = nullptr;  // where unreadable images are recorded, which are then black and a miss; null: an error
};

class BatchRing {
 public:
  BatchRing(SampleReader reader, std::unique_ptr<BatchPlan> plan, const RingOptions& options);
  ~BatchRing();  // at any time: waits for the samples in hand only
  BatchRing(const BatchRing&) = delete;
  BatchRing& operator=(const BatchRing&) = delete;

  // The next batch in order; blocks until it is full. An error met in filling it is thrown here, now and again.
  BatchSlot& acquire();
  void release(BatchSlot& slot);
  LoaderStats stats() const;

 private:
  struct Piece {
    BatchSlot* slot;
    int index;
  };
  // One thread's own.
  struct Worker {
    SampleScratch scratch;
    std::vector<std::int64_t> ids_ahead;  // of a piece
  };
  void allocate(const RingOptions& options);
  void work(Worker& worker);
  bool piece_available() const;
  std::int64_t begin_of(int piece) const { return batch_ * piece / pieces_; }
  void announce(std::int64_t number, int piece, Worker& worker) const;
  void read_ahead(const Piece& piece, Worker& worker) const;
  void fill(const Piece& piece, Worker& worker);
  void read_or_miss(BatchSlot& slot, std::int64_t position, SampleScratch& scratch, std::uint8_t* pixels);
  void finish(const Piece& piece, Worker& worker, std::exception_ptr failure);
  void complete(BatchSlot& slot);
  void fill_here(BatchSlot& slot);
  void start_threads(int threads);
  void stop();
  BatchSlot& slot_of(std::int64_t number) { return slots_[static_cast<std::size_t>(number) % slots_.size()]; }

  const SampleReader reader_;
  const std::unique_ptr<BatchPlan> plan_;
  const std::int64_t batch_;
  BadSamples* const misses_;
  const int pieces_;        // of a slot
  const int pieces_ahead_;  // between the piece that a worker fills and the one whose files it asks for
  std::vector<BatchSlot> slots_;
  std::vector<Worker> workers_;  // one per thread, or one for acquire()

  mutable std::mutex mutex_;
  std::condition_variable work_there_;   // for workers: a slot became free, or stop
  std::condition_variable batch_ready_;  // for the consumer
  std::int64_t fill_number_ = 0;         // the next piece to hand out: batch and piece
  int fill_piece_ = 0;
  std::int64_t next_number_ = 0;        // the next batch to acquire
  std::atomic<bool> stopping_ = false;  // written under the mutex
  LoaderStats stats_;
  std::mutex misses_mutex_;  // for the misses of slots being filled
  std::vector<std::thread> threads_;
};

}  // namespace lockstep
