// ShuffleNet v1: Zhang et al. 2017 (arXiv 1707.01083), table 1: pointwise convolutions in groups, whose channels are shuffled in
// between. `stem: SMALL`: the first convolution has stride 1 and no pooling follows, so that 32x32 images end as 4x4. The channels
// follow model.width_multiplier ("ShuffleNet s x"), rounded so that the groups divide them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "models/model.h"

namespace lockstep {

// groups: 1, 2, 3, 4 or 8, the columns of the table.
std::unique_ptr<Model> make_shufflenet_v1(const ModelOptions& options, int groups);

}  // namespace lockstep
