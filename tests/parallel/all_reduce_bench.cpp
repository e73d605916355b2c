// Benchmark: seconds and bus bandwidth of one all-reduce, fixed tree against ring, f32 against bf16 on the wire.
// all_reduce_bench [MB]; bus bandwidth = bytes / time * 2 * (W - 1) / W, as in nccl-tests.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "distributed/communicator.h"

namespace {

using namespace lockstep;

struct Seconds {
  double best, median;
};

Seconds measure(Communicator& comm, Tensor buffer, const ReduceOptions& options, int repetitions) {
  std::vector<double> seconds;
  for (int i = 0; i < repetitions; ++i) {
    comm.barrier();
    const auto start = std::chrono::steady_clock::now();
    comm.wait(comm.all_reduce_async(buffer, options, "bench"));
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::ranges::sort(seconds);
  return {seconds.front(), seconds[seconds.size() / 2]};
}

}  // namespace

int main(int argc, char** argv) {
  const auto comm = make_communicator(CommunicatorKind::kAuto);
  const double megabytes = argc > 1 ? std::atof(argv[1]) : 100;
  const auto numel = static_cast<std::int64_t>(megabytes * 1e6 / 4);
  const Tensor buffer = Tensor::zeros(Shape{numel}, DType::kF32);
  const double ranks = comm->size();
  double tree = 0;  // best seconds
  for (const WireFormat wire : {WireFormat::kNative, WireFormat::kBF16})
    for (const ReduceOrder order : {ReduceOrder::kFixedTree, ReduceOrder::kFast}) {
      const Seconds seconds = measure(*comm, buffer, {.order = order, .wire = wire}, megabytes > 10 ? 11 : 101);
      if (order == ReduceOrder::kFixedTree) tree = seconds.best;
      if (comm->rank() == 0)
        std::printf("%d ranks %.3f MB %s %s: median %.3f ms, best %.3f ms, best bus %.2f GB/s, tree/this %.2f\n", comm->size(),
                    megabytes, wire == WireFormat::kNative ? "f32 " : "bf16",
                    order == ReduceOrder::kFixedTree ? "tree" : "ring", seconds.median * 1e3, seconds.best * 1e3,
                    megabytes * 1e-3 / seconds.best * 2 * (ranks - 1) / ranks, tree / seconds.best);
    }
  comm->finalize();
  return 0;
}
