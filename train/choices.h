// Choices: what a backend picked by measuring, where other picks give other bits (Kernels::choices). All ranks, and a resumed
// run, compute with the same.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "distributed/communicator.h"
#include "train/session.h"

namespace lockstep {

// Rank 0's, on every rank. Collective.
std::map<std::string, std::string> broadcast_choices(const std::map<std::string, std::string>& choices, Communicator& comm);

// With cuda.time_choices or a plan cache, and several ranks: rank 0 chooses for all (a rehearsed pass), the others take it over.
// Before anything is computed, with the session's tensors on their device. Collective.
void agree_on_choices(Session& session, Communicator& comm);

}  // namespace lockstep
