// What an all-reduce takes on a cluster: the alpha-beta model (each message a latency, each byte its time), by algorithm.
//
// NCCL's algorithms with the formulas and constants of its own tuning model (src/graph/tuning.cc); lockstep's EXACT reduction as
// distributed/collectives.h does it: recursive halving and doubling along the fixed tree, or in the memory that ranks share.
// S bytes, n ranks on N hosts, alpha: a hop's latency, B: a link's rate.
//
//   ring         base + 2((n-1) - (N-1)) alpha_in + 2(N-1) alpha_net + 2(n-1)/n S / min(B_in, B_net)
//   tree         base + 2((n/N-1) alpha_in + log2(N) alpha_net) + 2 S / (0.92 min(B_in, B_net))
//   switch       NVLS, one host: 25 us + 2(n-1)/n S / B_switch
//   switch tree  NVLSTree, several: 25 us + 2 log2(N) 20.9 us + 2 S / min(B_switch, B_net)
//   in network   SHARP: base + 2(n/N-1) 2.8 us + 30 us + S / min(B_in, B_net)
//   halving      2 sum over levels of (alpha + half, quarter, .. of S / the level's link); small buffers: once, whole
//   memory       2 alpha + 2 n S / B: each rank's buffer is read once and written once
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "distributed/communicator.h"
#include "planning/cluster.h"

namespace lockstep {

enum class Algorithm : std::uint8_t { kNone, kRing, kTree, kSwitch, kSwitchTree, kInNetwork, kHalving, kMemory };
std::string_view algorithm_name(Algorithm algorithm);  // "ring", "switch tree", ...

// Seconds; infinity where the algorithm can't: no such link, not a power of two (halving), several hosts (switch, memory).
// REQUIRES: ranks >= 1, bytes >= 0, a link between hosts if there are several.
double all_reduce_seconds(const ClusterDescription& cluster, Algorithm algorithm, int ranks, double bytes);

struct AllReduce {
  Algorithm algorithm = Algorithm::kNone;  // kNone: one rank
  double seconds = 0;
};
// What lockstep would run: kFixedTree its own tree; kFast the fastest that the cluster's library has.
AllReduce plan_all_reduce(const ClusterDescription& cluster, ReduceOrder order, int ranks, double bytes);

// One level of halving and doubling: ranks whose numbers differ in the bit `distance` exchange, which takes so long.
struct ExchangeLevel {
  int distance = 1;
  double seconds = 0;
  bool between_hosts = false;
};
// In the order in which they happen: halving up to n / 2 and doubling back down; for small buffers halving alone. n a power of two.
std::vector<ExchangeLevel> exchange_levels(const ClusterDescription& cluster, int ranks, double bytes);

}  // namespace lockstep
