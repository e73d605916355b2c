// evaluate: the network on the whole evaluation set, each image exactly once at any number of ranks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

#include "data/loader.h"
#include "distributed/communicator.h"
#include "train/network.h"

namespace lockstep {

struct EvalResult {
  double loss = 0;            // mean per image, without label smoothing; the same bits at any number of ranks
  std::int64_t top1 = 0, top5 = 0, count = 0;  // exact
  double seconds = 0;
  bool interrupted = false;   // a stop was requested on some rank: nothing else is set
  double top1_percent() const { return count > 0 ? 100.0 * static_cast<double>(top1) / static_cast<double>(count) : 0; }
  double top5_percent() const { return count > 0 ? 100.0 * static_cast<double>(top5) / static_cast<double>(count) : 0; }
};

// Unreadable images (Batch::misses) count in the loss as they lie in the batch, and never as hits.
// Collective. Runs this rank's batches, then all ranks exchange their sums batch by batch, so that the loss is added in
// the order of the set whatever the number of ranks. Every few batches the ranks agree on whether to stop (`stop` is asked
// on each); stopped, the loader stands in the middle of a pass and must not be used again.
EvalResult evaluate(Network& network, EvalLoader& loader, std::int64_t samples, std::int64_t batch, Communicator& comm,
                    const std::function<bool()>& stop = [] { return false; });

}  // namespace lockstep
