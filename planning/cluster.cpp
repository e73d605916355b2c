// SPDX-License-Identifier: Apache-2.0
#include "planning/cluster.h"

#include <fmt/format.h>

#include "core/error.h"
#include "planning/shipped_files.h"
#include "planning/text_message.h"
#include "proto/cluster.pb.h"

namespace lockstep {
namespace {

constexpr double kGiga = 1e9, kMicro = 1e-6;
constexpr double kLargest = 1e6;       // of any figure in its own unit: far beyond machines
constexpr int kMostRanksPerHost = 4096;

double checked(const std::string& file, std::string_view field, double value, double low, double high, std::string_view want) {
  if (value >= low && value <= high) return value;  // not so for NaN
  throw UserError(fmt::format("{}: {}: got {}, want {}", file, field, value, want));
}

Link read_link(const std::string& file, const std::string& field, const proto::Cluster::Link& message) {
  if (!message.has_kind())
    throw UserError(fmt::format("{}: {}: there is no kind\n  write {} {{ kind: NETWORK gb_per_second: 12.5 latency_us: 10 }}", file, field, field));
  const double rate = checked(file, field + ".gb_per_second", message.gb_per_second(), 1e-6, kLargest, "more than 0, in 10^9 bytes per second");
  const double share = checked(file, field + ".efficiency", message.efficiency(), 1e-3, 1, "a share: more than 0, at most 1");
  return {static_cast<LinkKind>(message.kind()), rate * share * kGiga,
          checked(file, field + ".latency_us", message.latency_us(), 0, kLargest, "0 or more") * kMicro};
}

}  // namespace

ClusterDescription parse_cluster(std::string_view text, const std::string& file) {
  proto::Cluster message;
  parse_text_message(text, file, message);
  if (message.name().empty()) throw UserError(file + ": there is no name\n  write name: \"two hosts, 100 Gbit/s\"");
  if (!message.has_inside() && message.ranks_per_host() > 1)
    throw UserError(fmt::format("{}: ranks_per_host is {}, and there is no link inside\n  write inside {{ kind: PCIE gb_per_second: 12 }}", file,
                                message.ranks_per_host()));
  ClusterDescription cluster{
      .name = message.name(), .about = message.about(), .sources = {message.source().begin(), message.source().end()}, .file = file};
  cluster.ranks_per_host = static_cast<int>(checked(file, "ranks_per_host", message.ranks_per_host(), 1, kMostRanksPerHost, "1 to 4096"));
  if (message.has_inside()) cluster.inside = read_link(file, "inside", message.inside());
  if (message.has_between()) {
    cluster.between = read_link(file, "between", message.between());
    if (cluster.between->kind == LinkKind::kMemory) throw UserError(file + ": between: hosts share no memory\n  write kind: NETWORK");
  }
  if (!message.has_inside() && !message.has_between())
    throw UserError(file + ": there is no link\n  write inside { ... } for the ranks of a host, between { ... } for hosts");
  cluster.switch_bytes_per_second =
      checked(file, "switch_gb_per_second", message.switch_gb_per_second(), 0, kLargest, "0 (it can't) or more") * kGiga;
  cluster.network_adds = message.network_adds();
  cluster.library = message.library() == proto::Cluster::PLAIN ? ReduceLibrary::kPlain : ReduceLibrary::kNccl;
  cluster.straggler_share = checked(file, "straggler_percent", message.straggler_percent(), 0, 50, "0 to 50") * 1e-2;
  return cluster;
}

ClusterDescription load_cluster(const std::string& name_or_path) {
  const NamedText found = read_shipped("cluster", "clusters", name_or_path);
  return parse_cluster(found.text, found.path);
}

ClusterDescription with_shape(ClusterDescription cluster, int ranks, int hosts) {
  if (hosts > 0) {
    if (ranks % hosts != 0)
      throw UserError(
          fmt::format("{} ranks on {} hosts: want as many on each host\n  take a number of ranks that is a multiple of the hosts", ranks, hosts));
    cluster.ranks_per_host = ranks / hosts;
  } else if (ranks > cluster.ranks_per_host && ranks % cluster.ranks_per_host != 0) {
    throw UserError(
        fmt::format("{} ranks on hosts of {} ({}): want as many on each host\n  take a multiple of {} ranks, or say how many hosts (--nodes)", ranks,
                    cluster.ranks_per_host, cluster.name, cluster.ranks_per_host));
  }
  if (cluster.hosts(ranks) > 1 && !cluster.between)
    throw UserError(
        fmt::format("{} ranks need {} hosts, and {} is one host of {} ranks\n  take fewer ranks, or a cluster whose hosts are joined (between)",
                    ranks, cluster.hosts(ranks), cluster.name, cluster.ranks_per_host));
  if (cluster.ranks_per_host > 1 && ranks > 1 && !(cluster.inside.bytes_per_second > 0))
    throw UserError(fmt::format("{} ranks on each host, and {} has no link inside a host\n  take as many hosts as ranks (--nodes {})",
                                cluster.ranks_per_host, cluster.name, ranks));
  return cluster;
}

}  // namespace lockstep
