// Batch norm's vectors of C values: deviations from moments, moments from a convolution's sums, a fused convolution's scale and
// bias. A few KB each.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "cuda/kernels/batch_norm.h"
#include "cuda/kernels/norm_channels.h"

namespace lockstep::cuda {
namespace {

struct InverseDeviation {
  const float* m2;
  double count, eps;
  float *inv_std, *unbiased;  // unbiased: may be null

  LS_DEVICE void operator()(std::int64_t c) const {
    const double squares = static_cast<double>(m2[c]);
    inv_std[c] = static_cast<float>(1.0 / std::sqrt(squares / count + eps));
    if (unbiased != nullptr) unbiased[c] = static_cast<float>(squares / (count - 1.0));
  }
};

// The bias is made from the scale as it is stored, so that x = mean gives beta whatever the scale's rounding was.
template <class T>
struct ScaleAndBias {
  NormPointers norm;
  T *scale, *bias;

  LS_DEVICE void operator()(std::int64_t c) const {
    scale[c] = from_float<T>(norm.inv_std[c] * norm.gamma[c]);
    bias[c] = from_float<T>(std::fma(-norm.mean[c], to_float(scale[c]), norm.beta[c]));
  }
};

struct MomentsOfSums {
  const float *sum, *square_sum;
  double count;
  float *mean, *m2;

  LS_DEVICE void operator()(std::int64_t c) const {
    const double total = static_cast<double>(sum[c]), squares = static_cast<double>(square_sum[c]) - total * total / count;
    mean[c] = static_cast<float>(total / count);
    m2[c] = squares < 0 ? 0.0f : static_cast<float>(squares);  // NaN stays NaN
  }
};

}  // namespace

void batch_norm_inv_std(Stream stream, ConstView m2, double count, double eps, View inv_std, View unbiased) {
  for_each_index(stream, m2.numel(), InverseDeviation{m2.data<float>(), count, eps, inv_std.data<float>(),
                                                      unbiased ? unbiased.data<float>() : nullptr});
}

void norm_scale_bias(Stream stream, const NormVectors& norm, View scale, View bias) {
  with_element_type(scale.dtype, "norm_scale_bias", [&]<class T>(T) {
    for_each_index(stream, scale.numel(), ScaleAndBias<T>{NormPointers(norm), scale.data<T>(), bias.data<T>()});
  });
}

void moments_from_sums(Stream stream, ConstView sum, ConstView square_sum, double count, View mean, View m2) {
  for_each_index(stream, mean.numel(),
                 MomentsOfSums{sum.data<float>(), square_sum.data<float>(), count, mean.data<float>(), m2.data<float>()});
}

}  // namespace lockstep::cuda
