// StopRequest: asks a run to stop at the next step boundary, save, and exit 75.
//
// SIGTERM, SIGINT, SIGUSR1, SIGUSR2 and request_stop set a flag; each rank votes with it in the step's reduction, so all ranks stop at
// the same step. A second SIGINT ends the process at once. Handlers are installed once per process.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace lockstep {

void install_stop_handlers();
bool stop_requested();
// The run itself wants to end at the next step boundary: on all ranks, whichever of them asks. For the rest of the process.
void request_stop();
// Thrown by check_urgent_stop on rank 0 when there is no time to end the step: Open MPI kills its ranks one second after
// SIGTERM. The step is given up; the state is still that of the last step boundary, and rank 0 saves it. Other ranks only
// vote: either rank 0 got the signal too, or there is time.
struct UrgentStop {};
void check_urgent_stop();
// The signal that asked ("SIGTERM"), or "" when none did.
const char* stop_reason();

}  // namespace lockstep
