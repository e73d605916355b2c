// report_error: the one place where an error becomes text for the user.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace lockstep {

// "lockstep: error: ..." on stderr, after what stdout still holds. When several ranks meet the same error (a bad config, a
// missing file) one message is enough: ranks above 0 wait 1.5 s, in which rank 0's report normally ends the job (Open MPI takes one second over it).
void report_error(int rank, std::string_view kind, std::string_view message);

}  // namespace lockstep
