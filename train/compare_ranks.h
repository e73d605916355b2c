// compare_ranks: ranks on several machines may read different copies of a file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "distributed/communicator.h"
#include "train/session.h"

namespace lockstep {

// Collective. Throws UserError when config, data or program differ between ranks: which, and on which machines.
void compare_ranks(const Session& session, Communicator& comm);

}  // namespace lockstep
