// Loader and EvalLoader: batches from a source, filled ahead of time by threads into a ring that is allocated once.
//
// The images of a batch are (n, C, H, W) u8, NHWC in memory as everywhere; labels (n) i32. What a batch contains is a
// function of the options, the step and the shard only. A loader has one consumer: next() is not thread-safe.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "core/tensor.h"
#include "data/augment.h"
#include "data/bad_samples.h"
#include "data/mix.h"
#include "data/order.h"
#include "data/sample_reader.h"
#include "data/source.h"

namespace lockstep {

class BatchRing;
struct BatchSlot;

struct LoaderStats {
  std::int64_t wait_ns = 0;  // spent in next() because the batch was not ready (with 0 threads: all the loading)
  std::int64_t waits = 0;    // how many batches were waited for
  std::int64_t batches = 0;  // handed out
  int threads = 0;           // that read and decode; 1 where next() does it
  StageTimes stages;         // of all threads together, of the pieces that they have finished
};

// A batch on loan: its memory goes back to the ring on destruction. The tensors share that memory, so neither they nor
// the batch may be used after the batch, or the loader, is gone.
class Batch {
 public:
  Batch() = default;  // none: false as a bool
  Batch(Batch&& other) noexcept
      : ring_(std::exchange(other.ring_, nullptr)), slot_(std::exchange(other.slot_, nullptr)) {}
  Batch& operator=(Batch&& other) noexcept;
  ~Batch() { reset(); }

  explicit operator bool() const { return slot_ != nullptr; }
  void reset();  // gives the memory back now

  const Tensor& images() const;                  // (n, C, H, W) u8
  const Tensor& labels() const;                  // (n) i32; -1 is padding (EvalLoader)
  const Tensor& mix() const;                     // (n, 8) i32: a MixRow (data/mix.h) per image; empty if nothing is ever mixed
  std::span<const std::int64_t> ids() const;     // (n): the samples that were read; -1 is padding
  std::span<const std::int64_t> misses() const;  // positions of unreadable images, which may not count as hits (EvalLoader)
  std::int64_t samples() const;                  // n without padding
  std::int64_t step() const;                     // global step; for EvalLoader the global number of the batch
  std::int64_t epoch() const;                    // for EvalLoader the pass, from 0
  int shard() const;                             // of V; for EvalLoader 0

 private:
  friend class Loader;
  friend class EvalLoader;
  Batch(BatchRing& ring, BatchSlot& slot) : ring_(&ring), slot_(&slot) {}

  BatchRing* ring_ = nullptr;
  BatchSlot* slot_ = nullptr;
};

struct LoaderOptions {
  std::uint64_t seed = 0;
  std::int64_t shard_batch = 0;         // samples of one shard; the n of a batch
  std::int64_t global_batch = 0;        // V * shard_batch
  int first_shard = 0, last_shard = 0;  // this rank's shards, [first, last) of V
  std::int64_t start_step = 0;          // the loader's whole state: 0, or the step to go on with
  LastBatch last_batch = LastBatch::kDrop;
  AugmentOptions augment;
  MixOptions mix;
  int threads = 1;                   // 0: next() loads in the calling thread
  int ring_depth = 4;                // batches in memory
  std::int64_t max_bad_samples = 0;  // per rank; more unreadable samples than this end the run
  MemoryPool* memory = nullptr;      // host memory in which batches lie; null: the host's pool
};

// Training batches without end: of each step this rank's shards in order, then the next step.
class Loader {
 public:
  // `source` must outlive the loader. Throws UserError for sizes that do not fit together.
  Loader(const Source& source, const LoaderOptions& options);
  ~Loader();  // may be called at any time, after all batches are gone
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  Batch next();  // blocks until the batch is full; throws what went wrong in loading it
  std::int64_t steps_per_epoch() const;
  LoaderStats stats() const;                              // thread-safe
  const BadSamples& bad_samples() const { return bad_; }  // met so far by this rank, prefetching included

 private:
  GlobalOrder order_;
  BadSamples bad_;
  std::unique_ptr<BatchRing> ring_;
};

struct EvalLoaderOptions {
  std::int64_t batch = 0;
  int rank = 0, world = 1;
  AugmentOptions augment;  // without randomness: kNone or kResizeCentreCrop, no flip
  int threads = 1;
  int ring_depth = 4;
  MemoryPool* memory = nullptr;  // as LoaderOptions
  bool bad_is_miss = false;      // an unreadable sample is a black image that may not count as a hit, not an error
};

// All samples in the order of the set, each exactly once over all ranks: batch b of ceil(N / batch) belongs to rank
// b mod world; the last is padded (zeros, label -1) so that shapes never change. An unreadable sample is an error, or with
// bad_is_miss zeros with the sample's own id and label, listed in Batch::misses().
class EvalLoader {
 public:
  EvalLoader(const Source& source, const EvalLoaderOptions& options);
  ~EvalLoader();
  EvalLoader(const EvalLoader&) = delete;
  EvalLoader& operator=(const EvalLoader&) = delete;

  // The next batch of this pass over the set; none at its end, and then the next pass begins.
  Batch next();
  std::int64_t batches() const { return batches_; }  // of this rank in a pass; 0 when there are more ranks than batches
  LoaderStats stats() const;
  const BadSamples& bad_samples() const { return bad_; }  // met so far by this rank, prefetching included

 private:
  std::int64_t batches_;
  std::int64_t given_ = 0;  // in this pass
  BadSamples bad_;
  std::unique_ptr<BatchRing> ring_;
};

}  // namespace lockstep
