// ClusterDescription: how ranks are joined (configs/clusters/*.pbtxt, proto/cluster.proto).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

enum class LinkKind : std::uint8_t { kNvlink, kPcie, kNetwork, kMemory };
enum class ReduceLibrary : std::uint8_t { kNccl, kPlain };

struct Link {
  LinkKind kind = LinkKind::kNetwork;
  // That collectives reach, in each direction. Inside: of one rank (kMemory: of the host, read and written); between: of one host.
  double bytes_per_second = 0;
  double latency_s = 0;  // of one message, beside its bytes
};

struct ClusterDescription {
  std::string name, about;
  std::vector<std::string> sources;
  std::string file;
  int ranks_per_host = 1;
  Link inside;
  std::optional<Link> between;          // absent: there is one host only
  double switch_bytes_per_second = 0;   // bus bandwidth of all-reduces added up by the switch inside a host; 0: it can't
  bool network_adds = false;            // so do the switches between hosts
  ReduceLibrary library = ReduceLibrary::kNccl;
  double straggler_share = 0.01;        // standard deviation of a rank's computing time and of a host's link time

  // ceil(ranks / ranks_per_host).
  int hosts(int ranks) const { return (ranks + ranks_per_host - 1) / ranks_per_host; }
};

// A name ("dgx_h100": configs/clusters/dgx_h100.pbtxt, planning/shipped_files.h) or a path. Throws UserError: unknown (with a suggestion
// and the list), unreadable, misspelt or out of range.
ClusterDescription load_cluster(const std::string& name_or_path);
ClusterDescription parse_cluster(std::string_view text, const std::string& file);

// With so many hosts and ranks: ranks_per_host follows. 0: as the file says (hosts: as many as needed). Throws UserError when the ranks
// don't divide evenly among the hosts, or several hosts have no link between them.
ClusterDescription with_shape(ClusterDescription cluster, int ranks, int hosts);

}  // namespace lockstep
