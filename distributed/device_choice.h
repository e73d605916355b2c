// Which GPU a rank takes, and the check that no two take the same one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "distributed/communicator.h"

namespace lockstep {

// The index, among the `gpu_count` GPUs that this process sees, of the one for this rank: by its place on its host, around again
// when there are fewer GPUs than ranks. (A launcher that shows each rank one GPU only is served by the same rule.)
int pick_device(const Communicator& comm, int gpu_count);

// Collective. `gpu`: the PCI bus id of this rank's GPU. Throws UserError on all ranks, naming two ranks of one host that would use
// one GPU.
void check_one_gpu_per_rank(Communicator& comm, const std::string& gpu);

}  // namespace lockstep
