// SPDX-License-Identifier: Apache-2.0
#include "train/evaluate.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "train/clock.h"
#include "train/shard_pass.h"

namespace lockstep {

namespace {

constexpr std::int64_t kVoteEvery = 8;  // batches

// An unreadable image, black in the batch, may be a hit by chance: a second pass counts the hits among such images alone. They
// are few, and so are their batches.
ShardSums without_hits_of(const Batch& batch, Network& network, ShardSums sums) {
  Tensor only = Tensor::empty(batch.labels().shape(), DType::kI32);
  const auto labels = only.host<std::int32_t>();
  std::fill(labels.begin(), labels.end(), -1);
  for (const std::int64_t position : batch.misses())
    labels[static_cast<std::size_t>(position)] = batch.labels().host<std::int32_t>()[static_cast<std::size_t>(position)];
  const ShardSums missed = evaluate_batch(network, {batch.images(), only});
  sums.top1 -= missed.top1;
  sums.top5 -= missed.top5;
  return sums;
}

bool somebody_stops(Communicator& comm, bool mine) {
  for (const std::uint8_t vote : comm.all_gather_values(static_cast<std::uint8_t>(mine), "evaluation: votes to stop"))
    if (vote != 0) return true;
  return false;
}

}  // namespace

EvalResult evaluate(Network& network, EvalLoader& loader, std::int64_t samples, std::int64_t batch, Communicator& comm,
                    const std::function<bool()>& stop) {
  const std::int64_t begin = steady_ns();
  const std::int64_t all_batches = (samples + batch - 1) / batch;
  const auto per_rank = static_cast<std::size_t>((all_batches + comm.size() - 1) / comm.size());
  std::vector<ShardSums> mine(per_rank);  // ranks with fewer batches leave zeros
  // The loop is over rounds, not over this rank's batches: all ranks vote at the same rounds, those without a batch too.
  for (std::size_t round = 0; round < per_rank; ++round) {
    if (static_cast<std::int64_t>(round) % kVoteEvery == 0 && somebody_stops(comm, stop())) return {.interrupted = true};
    if (const Batch next = loader.next()) {
      mine[round] = evaluate_batch(network, {next.images(), next.labels()});
      if (!next.misses().empty()) mine[round] = without_hits_of(next, network, mine[round]);
    }
  }
  if (loader.batches() == static_cast<std::int64_t>(per_rank)) {  // the others' last round ended the loader's pass
    const Batch none = loader.next();
    LS_CHECK(!none, "evaluation: more batches than expected");
  }
  std::vector<ShardSums> all(per_rank * static_cast<std::size_t>(comm.size()));
  comm.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)), "evaluation sums");
  ShardSums sums;
  for (std::size_t index = 0; index < static_cast<std::size_t>(all_batches); ++index) {
    const std::size_t rank = index % static_cast<std::size_t>(comm.size());
    const ShardSums& each = all[rank * per_rank + index / static_cast<std::size_t>(comm.size())];
    sums.loss += each.loss;
    sums.top1 += each.top1;
    sums.top5 += each.top5;
    sums.count += each.count;
  }
  EvalResult result;
  result.count = static_cast<std::int64_t>(sums.count);
  LS_CHECK(result.count == samples, "evaluation counted " + std::to_string(result.count) + " of " + std::to_string(samples) + " images");
  result.loss = sums.loss / sums.count;
  result.top1 = static_cast<std::int64_t>(sums.top1);
  result.top5 = static_cast<std::int64_t>(sums.top5);
  result.seconds = static_cast<double>(steady_ns() - begin) * 1e-9;
  return result;
}

}  // namespace lockstep
