// The communicator of the running MPI job, for tests.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "distributed/communicator.h"

namespace lockstep::testing {

Communicator& world();
bool shares_memory();  // false: started with the argument `messages`

}  // namespace lockstep::testing
