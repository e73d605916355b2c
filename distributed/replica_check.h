// check_replicas: proves that all ranks hold the same bits, by comparing 64-bit hashes of named tensors.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "distributed/communicator.h"

namespace lockstep {

struct NamedHash {
  std::string name;
  std::uint64_t hash = 0;
};

// Collective. All ranks list the same tensors in the same order. Costs one gather of 8 bytes when they agree; otherwise
// throws UserError(kNumeric) on every rank, naming the first tensor that differs and the ranks in the minority.
void check_replicas(Communicator& comm, std::span<const NamedHash> tensors, std::int64_t step);

}  // namespace lockstep
