// Which ranks share memory, and how they come to: decided once, alike on all ranks, when a communicator starts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>

#include "distributed/communicator.h"
#include "distributed/shared_reduce.h"

namespace lockstep {

// The size of the blocks of consecutive ranks that share memory: all ranks if they are on one host; else the largest power
// of two such that each aligned block of so many ranks is on one host, because such blocks are subtrees of the reduction's
// tree. 1: nothing is shared.
int shared_block(std::span<const std::string> hosts);

struct SharedConnection {
  std::unique_ptr<SharedReduce> group;  // null: messages only
  std::string note;                     // for banners: what is shared, or why not; empty where ranks share no host
};

// Collective; `comm` knows its hosts already. Where the system refuses on one rank, no rank shares memory: slower, and
// otherwise the same.
SharedConnection connect_shared_memory(Communicator& comm, std::span<const std::string> hosts, Waiter& waiter);

}  // namespace lockstep
