// Kill points: named places where a crash test can end the process with SIGKILL, as a power cut or an OOM kill would.
// LOCKSTEP_KILLPOINT=name kills at the first passage, =name:3 at the third. Unset, a passage costs one load.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace lockstep {

void kill_point(std::string_view name);

// For a helper process: at a kill point the process `pid` is killed first, then the caller. 0: only the caller.
void kill_point_takes_along(int pid);

// Re-reads the environment (tests set it after the start).
void reload_kill_point();

}  // namespace lockstep

#define LS_KILLPOINT(name) ::lockstep::kill_point(name)
