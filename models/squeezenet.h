// SqueezeNet: Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters" (arXiv 1602.07360), with
// torchvision's names: fire modules, and a convolution as the classifier.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "models/model.h"

namespace lockstep {

std::unique_ptr<Model> make_squeezenet1_0(const ModelOptions& options);
std::unique_ptr<Model> make_squeezenet1_1(const ModelOptions& options);  // 2.4 times fewer operations, by the authors

}  // namespace lockstep
