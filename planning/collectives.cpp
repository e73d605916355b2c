// SPDX-License-Identifier: Apache-2.0
#include "planning/collectives.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace lockstep {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr double kMicro = 1e-6;

// NCCL's protocols: LL moves 4 bytes of data with each 4-byte flag, LL128 120 with 8, Simple waits for whole blocks.
struct Protocol {
  double tree_base_us, ring_base_us;
  std::array<double, 3> tree_hop_us, ring_hop_us;  // by LinkKind: NVLink, PCIe, network
  double rate_share, most_bytes_per_second;
};
constexpr std::array<Protocol, 3> kProtocols{{{6.8, 6.6, {0.6, 1.0, 5.0}, {0.6, 1.0, 2.7}, 0.5, 45e9},
                                              {14, 14, {1.25, 1.9, 8.5}, {1.9, 2.5, 4.0}, 0.92, 300e9},
                                              {8.4, 8.4, {4.0, 4.0, 14}, {3.4, 5.7, 14}, 1, kNever}}};
constexpr double kTreeShare = 0.92;
constexpr double kSwitchBaseUs = 25, kSwitchTreeHopUs = 20.9, kInNetworkHopUs = 2.8, kInNetworkUs = 30;

// Up to here both halves of a level travel at once, whole: distributed/device_collectives.cpp and collectives.cpp.
constexpr double kSmallOnDevice = 1 << 20, kSmallOnHost = 8 << 10;

double hop_s(const std::array<double, 3>& hops_us, LinkKind kind) {
  return hops_us[std::min<std::size_t>(static_cast<std::size_t>(kind), 2)] * kMicro;
}

struct Layout {
  double ranks, hosts, per_host;
  double rate;  // of a ring through all: the narrowest link
};
Layout layout(const ClusterDescription& cluster, int ranks) {
  const int hosts = cluster.hosts(ranks), per_host = std::min(ranks, cluster.ranks_per_host);
  double inside = per_host > 1 ? cluster.inside.bytes_per_second : kNever;
  if (cluster.inside.kind == LinkKind::kMemory) inside /= 2.0 * per_host;  // every message is written and read by everybody at once
  const double rate = hosts > 1 ? std::min(inside, cluster.between->bytes_per_second) : inside;
  return {static_cast<double>(ranks), static_cast<double>(hosts), static_cast<double>(ranks) / hosts, rate};
}

double nccl_ring(const ClusterDescription& cluster, const Layout& at, const Protocol& protocol, double bytes) {
  const double between = at.hosts > 1 ? 2 * (at.hosts - 1) : 0;
  const double latency = protocol.ring_base_us * kMicro + (2 * (at.ranks - 1) - between) * hop_s(protocol.ring_hop_us, cluster.inside.kind) +
                         between * (at.hosts > 1 ? hop_s(protocol.ring_hop_us, cluster.between->kind) : 0);
  const double rate = std::min(at.rate * protocol.rate_share, protocol.most_bytes_per_second);
  return latency + 2 * (at.ranks - 1) / at.ranks * bytes / rate;
}

double nccl_tree(const ClusterDescription& cluster, const Layout& at, const Protocol& protocol, double bytes) {
  const double latency = protocol.tree_base_us * kMicro + 2 * ((at.per_host - 1) * hop_s(protocol.tree_hop_us, cluster.inside.kind) +
                                                               std::log2(at.hosts) * hop_s(protocol.tree_hop_us, cluster.between->kind));
  const double rate = std::min(at.rate * protocol.rate_share, protocol.most_bytes_per_second);
  return latency + 2 * bytes / (kTreeShare * rate);
}

template <class Time>
double fastest_protocol(Time time) {
  double best = kNever;
  for (const Protocol& protocol : kProtocols) best = std::min(best, time(protocol));
  return best;
}

double ring_seconds(const ClusterDescription& cluster, const Layout& at, double bytes) {
  if (cluster.library == ReduceLibrary::kNccl)
    return fastest_protocol([&](const Protocol& protocol) { return nccl_ring(cluster, at, protocol, bytes); });
  const double between = at.hosts > 1 ? 2 * (at.hosts - 1) : 0;
  const double latency = (2 * (at.ranks - 1) - between) * cluster.inside.latency_s + between * (at.hosts > 1 ? cluster.between->latency_s : 0);
  return latency + 2 * (at.ranks - 1) / at.ranks * bytes / at.rate;
}

double memory_seconds(const ClusterDescription& cluster, double ranks, double bytes) {
  return 2 * cluster.inside.latency_s + 2 * ranks * bytes / cluster.inside.bytes_per_second;
}

// Ranks of a host that share memory add theirs there first, and hand the result around at the end (EXACT), or do without messages.
bool shares_memory(const ClusterDescription& cluster) { return cluster.inside.kind == LinkKind::kMemory && cluster.ranks_per_host > 1; }

double halving_seconds(const ClusterDescription& cluster, int ranks, double bytes) {
  if (!std::has_single_bit(static_cast<unsigned>(ranks))) return kNever;
  double seconds = 0;
  for (const ExchangeLevel& level : exchange_levels(cluster, ranks, bytes)) seconds += level.seconds;
  return seconds;
}

}  // namespace

std::string_view algorithm_name(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::kNone: return "none";
    case Algorithm::kRing: return "ring";
    case Algorithm::kTree: return "tree";
    case Algorithm::kSwitch: return "switch";
    case Algorithm::kSwitchTree: return "switch tree";
    case Algorithm::kInNetwork: return "in network";
    case Algorithm::kHalving: return "halving";
    case Algorithm::kMemory: return "memory";
  }
  return "";
}

std::vector<ExchangeLevel> exchange_levels(const ClusterDescription& cluster, int ranks, double bytes) {
  LS_CHECK(ranks >= 1 && std::has_single_bit(static_cast<unsigned>(ranks)), "halving over ranks that are no power of two");
  const int per_host = std::min(ranks, cluster.ranks_per_host);
  const bool memory = shares_memory(cluster);
  const double small = cluster.library == ReduceLibrary::kNccl ? kSmallOnDevice : kSmallOnHost;
  const bool whole = bytes <= small && !memory;
  std::vector<ExchangeLevel> levels;
  double piece = bytes;
  for (int distance = 1; distance < ranks; distance *= 2) {
    if (!whole) piece /= 2;
    const bool between = distance >= per_host;
    if (memory && !between) {  // half of the host's work in memory: adding; the other half is handing around
      levels.push_back({distance, (cluster.inside.latency_s + per_host * bytes / cluster.inside.bytes_per_second) / std::log2(per_host), false});
      continue;
    }
    // All ranks of a host send between hosts at once.
    const double rate = between ? cluster.between->bytes_per_second / per_host : cluster.inside.bytes_per_second;
    levels.push_back({distance, (between ? cluster.between->latency_s : cluster.inside.latency_s) + piece / rate, between});
  }
  if (whole) return levels;
  for (std::size_t i = levels.size(); i-- > 0;) levels.push_back(levels[i]);
  return levels;
}

double all_reduce_seconds(const ClusterDescription& cluster, Algorithm algorithm, int ranks, double bytes) {
  if (ranks == 1) return 0;
  const Layout at = layout(cluster, ranks);
  const bool nccl = cluster.library == ReduceLibrary::kNccl;
  switch (algorithm) {
    case Algorithm::kNone: return kNever;
    case Algorithm::kRing: return ring_seconds(cluster, at, bytes);
    case Algorithm::kTree:
      if (!nccl || at.hosts <= 1) return kNever;
      return fastest_protocol([&](const Protocol& protocol) { return nccl_tree(cluster, at, protocol, bytes); });
    case Algorithm::kSwitch:
      if (!nccl || at.hosts > 1 || !(cluster.switch_bytes_per_second > 0)) return kNever;
      return kSwitchBaseUs * kMicro + 2 * (at.ranks - 1) / at.ranks * bytes / cluster.switch_bytes_per_second;
    case Algorithm::kSwitchTree:
      if (!nccl || at.hosts <= 1 || !(cluster.switch_bytes_per_second > 0)) return kNever;
      return (kSwitchBaseUs + 2 * std::log2(at.hosts) * kSwitchTreeHopUs) * kMicro +
             2 * bytes / std::min(cluster.switch_bytes_per_second, cluster.between->bytes_per_second);
    case Algorithm::kInNetwork:
      if (!nccl || at.hosts <= 1 || !cluster.network_adds) return kNever;
      return (kProtocols[2].ring_base_us + 2 * (at.per_host - 1) * kInNetworkHopUs + kInNetworkUs) * kMicro + bytes / at.rate;
    case Algorithm::kHalving: return halving_seconds(cluster, ranks, bytes);
    case Algorithm::kMemory: return at.hosts > 1 || !shares_memory(cluster) ? kNever : memory_seconds(cluster, at.ranks, bytes);
  }
  return kNever;
}

AllReduce plan_all_reduce(const ClusterDescription& cluster, ReduceOrder order, int ranks, double bytes) {
  if (ranks == 1) return {};
  std::vector<Algorithm> candidates{Algorithm::kMemory};
  if (order == ReduceOrder::kFixedTree)
    candidates.push_back(Algorithm::kHalving);
  else if (cluster.library == ReduceLibrary::kNccl)
    candidates.insert(candidates.end(), {Algorithm::kRing, Algorithm::kTree, Algorithm::kSwitch, Algorithm::kSwitchTree, Algorithm::kInNetwork});
  else
    candidates.insert(candidates.end(), {Algorithm::kRing, Algorithm::kHalving});
  AllReduce best{.seconds = kNever};
  for (const Algorithm candidate : candidates)
    if (const double seconds = all_reduce_seconds(cluster, candidate, ranks, bytes); seconds < best.seconds) best = {candidate, seconds};
  return best;
}

}  // namespace lockstep
