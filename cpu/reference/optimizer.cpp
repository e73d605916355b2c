// The optimizer's kernels.
// SPDX-License-Identifier: Apache-2.0
#include "cpu/reference/common.h"
#include "cpu/reference/kernel_class.h"

namespace lockstep::reference {

void ReferenceKernels::sgd_step(Stream, std::span<const SgdTensor> tensors, const SgdParams& params) {
  for (const SgdTensor& tensor : tensors)
    dispatch("sgd_step", tensor.value.dtype, [&]<class T>() {
      T* value = tensor.value.data<T>();
      T* momentum = tensor.momentum.data<T>();
      const T* grad = tensor.grad.data<T>();
      for (std::int64_t i = 0; i < tensor.value.numel(); ++i) {
        const double g = static_cast<double>(grad[i]) * params.grad_scale + tensor.weight_decay * static_cast<double>(value[i]);
        const double buffer = params.momentum * static_cast<double>(momentum[i]) + g;
        momentum[i] = static_cast<T>(buffer);
        const double step = params.nesterov ? g + params.momentum * buffer : buffer;
        value[i] = static_cast<T>(static_cast<double>(value[i]) - tensor.lr * step);
      }
    });
}

void ReferenceKernels::squared_norm(Stream, std::span<const ConstView> tensors, View result) {
  double total = 0;
  for (const ConstView& tensor : tensors)
    dispatch("squared_norm", tensor.dtype, [&]<class T>() {
      double sum = 0;
      for (std::int64_t i = 0; i < tensor.numel(); ++i) {
        const auto value = static_cast<double>(tensor.data<T>()[i]);
        sum += value * value;
      }
      total += sum;
    });
  result.data<double>()[0] = total;
}

void ReferenceKernels::moving_average(Stream, ConstView observed, double momentum, View value) {
  dispatch("moving_average", value.dtype, [&]<class T>() {
    for (std::int64_t i = 0; i < value.numel(); ++i) {
      T& v = value.data<T>()[i];
      v = static_cast<T>((1.0 - momentum) * static_cast<double>(v) + momentum * static_cast<double>(observed.data<T>()[i]));
    }
  });
}

}  // namespace lockstep::reference
