// The composed forms of the fused kernels, for backends without a form of their own.
// SPDX-License-Identifier: Apache-2.0
#include "ops/kernels.h"

namespace lockstep {
namespace {

Tensor normalised(Kernels& kernels, Stream stream, ConstView x, const NormVectors& norm) {
  Tensor y = Tensor::empty(x.shape, x.dtype, x.device);
  kernels.batch_norm_apply(stream, x, norm, {}, true, y, {});
  return y;
}

}  // namespace

void Kernels::norm_conv2d_forward(Stream stream, ConstView x, const NormVectors& norm, ConstView w,
                                  const Conv2dParams& params, View y) {
  conv2d_forward(stream, normalised(*this, stream, x, norm), w, {}, params, y);
}

void Kernels::norm_conv2d_backward_filter(Stream stream, ConstView x, const NormVectors& norm, ConstView dy,
                                          const Conv2dParams& params, View dw, GradMode mode) {
  conv2d_backward_filter(stream, normalised(*this, stream, x, norm), dy, params, dw, mode);
}

}  // namespace lockstep
