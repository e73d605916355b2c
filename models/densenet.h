// DenseNet: Huang et al. 2016, "Densely connected convolutional networks" (arXiv 1608.06993), DenseNet-BC, with torchvision's names.
// `stem: SMALL`: a 3x3 convolution with stride 1 and no pooling before the first block.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "models/model.h"

namespace lockstep {

std::unique_ptr<Model> make_densenet121(const ModelOptions& options);

}  // namespace lockstep
