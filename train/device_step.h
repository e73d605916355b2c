// DeviceStepRunner: training steps on a GPU, given out ahead of time. The host never waits for a step but for the one
// before the last; nothing of a warm step asks it for anything.
//
//     loader's page-locked slot --copy stream--> staging --> inputs --[ forward, backward, reduction, update ]--> control --> host
//
// What is in brackets runs eagerly twice, is then recorded and replayed (cuda.graphs; not when ranks reduce through host
// memory); steps that measure the noise scale and steps that don't, where there are both, are recorded each by itself. What
// changes from step to step lies on the device (ops/step_control.h): the learning rate, the step's number, the loss scale; results
// come back in the same block. A step that is not finite updates nothing, by the device's own
// judgement, nor does any after it until the host has seen it (with loss scaling: that one is skipped). The average of weights
// follows outside of the brackets, as its decay is the host's; it too asks the device's judgement.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "train/step.h"

namespace lockstep {

// As make_step_runner, for networks on a GPU.
std::unique_ptr<StepRunner> make_device_step_runner(const proto::Config& config, const RunPlan& plan, Network& network,
                                                    SgdOptimizer& optimizer, WeightAverage* average, Communicator& comm);

}  // namespace lockstep
