// Inception v3: Szegedy et al. 2015, "Rethinking the Inception architecture for computer vision" (arXiv 1512.00567), as torchvision
// has it, without the auxiliary classifier: 7x7 filters as 1x7 and 7x1. For images of 299x299; at least 75x75.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "models/model.h"

namespace lockstep {

std::unique_ptr<Model> make_inception_v3(const ModelOptions& options);

}  // namespace lockstep
