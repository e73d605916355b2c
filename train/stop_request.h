// StopRequest: asks a run to stop at the next step boundary, save, and exit 75.
//
// SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 set a flag; each rank votes with it in the step's reduction, so all ranks stop at
// the same step. A second SIGINT ends the process at once. Handlers are installed once per process.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace lockstep {

void install_stop_handlers();
bool stop_requested();
// True when there is no time to end the step: Open MPI kills its ranks one second after SIGTERM.
bool stop_is_urgent();
// Thrown inside a step by check_urgent_stop: the step is given up; the state is still that of the last step boundary.
struct UrgentStop {};
void check_urgent_stop();
// The signal that asked ("SIGTERM"), or "" when none did.
const char* stop_reason();
void clear_stop_request();  // for tests

}  // namespace lockstep
