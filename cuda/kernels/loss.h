// Softmax cross-entropy on the device, with its gradient; defined in ops/kernels.h. One block per sample, then one that adds
// the samples up in order.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/kernels.h"

namespace lockstep::cuda {

void softmax_cross_entropy(Stream stream, ConstView logits, ConstView labels, ConstView mix, double smoothing, View loss, View dlogits,
                           View sums);

}  // namespace lockstep::cuda
