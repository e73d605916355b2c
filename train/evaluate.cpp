// SPDX-License-Identifier: Apache-2.0
#include "train/evaluate.h"

#include <vector>

#include "core/error.h"
#include "train/clock.h"
#include "train/shard_pass.h"

namespace lockstep {

EvalResult evaluate(Network& network, EvalLoader& loader, std::int64_t samples, std::int64_t batch, Communicator& comm) {
  const std::int64_t begin = steady_ns();
  const std::int64_t all_batches = (samples + batch - 1) / batch;
  const auto per_rank = static_cast<std::size_t>((all_batches + comm.size() - 1) / comm.size());
  std::vector<ShardSums> mine(per_rank);  // ranks with fewer batches leave zeros
  std::size_t done = 0;
  while (Batch next = loader.next()) {
    LS_CHECK(done < per_rank, "evaluation: more batches than expected");
    mine[done++] = evaluate_batch(network, {next.images(), next.labels()});
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
