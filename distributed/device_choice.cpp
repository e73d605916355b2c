// SPDX-License-Identifier: Apache-2.0
#include "distributed/device_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace lockstep {

int pick_device(const Communicator& comm, int gpu_count) { return gpu_count > 0 ? comm.local_rank() % gpu_count : 0; }

void check_one_gpu_per_rank(Communicator& comm, const std::string& gpu) {
  const auto gpus = comm.all_gather_strings(gpu, "GPUs of all ranks");
  const auto same_host = [&](int a, int b) { return comm.host_of(a) == comm.host_of(b); };
  for (int rank = 1; rank < comm.size(); ++rank)
    for (int other = 0; other < rank; ++other) {
      if (!same_host(rank, other) || gpus[static_cast<std::size_t>(rank)] != gpus[static_cast<std::size_t>(other)]) continue;
      std::set<std::string> on_host;
      int ranks = 0;
      for (int each = 0; each < comm.size(); ++each) {
        if (!same_host(each, rank)) continue;
        on_host.insert(gpus[static_cast<std::size_t>(each)]);
        ++ranks;
      }
      throw UserError(fmt::format(
          "ranks {} and {} would use the same GPU of {} ({}): its {} ranks see {} of them, and NCCL needs one for each rank.\n"
          "Start at most {} on this host, or set distributed.communicator: MPI, with which ranks may share a GPU (slow, for tests).",
          other, rank, comm.host_of(rank), gpu.empty() ? "no name" : gpus[static_cast<std::size_t>(rank)], ranks, on_host.size(), on_host.size()));
    }
}

}  // namespace lockstep
