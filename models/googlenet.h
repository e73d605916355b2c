// GoogLeNet: Szegedy et al. 2014, "Going deeper with convolutions" (arXiv 1409.4842), as torchvision has it: with batch norm,
// 3x3 in place of 5x5 filters, without the auxiliary classifiers. `stem: SMALL` replaces the first convolution and the two
// poolings before the first block by a 3x3 convolution with stride 1.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "models/model.h"

namespace lockstep {

std::unique_ptr<Model> make_googlenet(const ModelOptions& options);

}  // namespace lockstep
