// SPDX-License-Identifier: Apache-2.0
#include "distributed/shared_connect.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace lockstep {
namespace {

// Maps the segments of the ranks first .. first + count - 1. Empty when one can't be mapped.
std::vector<std::shared_ptr<SharedSegment>> map_segments(std::span<const SegmentAddress> addresses, std::string& reason) {
  std::vector<std::shared_ptr<SharedSegment>> segments;
  for (const SegmentAddress& address : addresses) {
    if (address.nonce == 0) return {};
    segments.push_back(SharedSegment::open(address, reason));
    if (!segments.back()) return {};
  }
  return segments;
}

}  // namespace

int shared_block(std::span<const std::string> hosts) {
  const auto all = hosts.size();
  if (std::ranges::all_of(hosts, [&](const std::string& host) { return host == hosts[0]; }))
    return all <= RankSum::kMaxRanks ? static_cast<int>(all) : 1;
  int block = 1;
  for (std::size_t size = 2; size < all && all % size == 0 && size <= RankSum::kMaxRanks; size *= 2) {
    for (std::size_t rank = 0; rank < all; ++rank)
      if (hosts[rank] != hosts[rank / size * size]) return block;
    block = static_cast<int>(size);
  }
  return block;
}

SharedConnection connect_shared_memory(Communicator& comm, std::span<const std::string> hosts, Waiter& waiter) {
  const int block = shared_block(hosts);
  if (block == 1) return {};
  std::string reason;
  // Two steps, each with an answer from everybody: a segment is mapped only when it exists, and used only when all mapped.
  const std::shared_ptr<SharedSegment> own = SharedSegment::create(reason);
  const auto addresses = comm.all_gather_values(own ? own->address() : SegmentAddress{}, "addresses of shared memory");
  const int first = comm.rank() / block * block;
  auto segments = map_segments(std::span(addresses).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(block)), reason);
  const auto reasons = comm.all_gather_strings(segments.empty() && reason.empty() ? "a peer has none" : reason, "shared memory");
  for (std::size_t rank = 0; rank < reasons.size(); ++rank)
    if (!reasons[rank].empty() && reasons[rank] != "a peer has none")
      return {nullptr, fmt::format("no shared memory: rank {}, {}", rank, reasons[rank])};
  return {std::make_unique<SharedReduce>(std::move(segments), comm.rank() - first, waiter),
          block == comm.size() ? "shared memory" : fmt::format("shared memory in blocks of {} ranks", block)};
}

}  // namespace lockstep
