// The optimizer's kernels.
// SPDX-License-Identifier: Apache-2.0
#include "cpu/reference/common.h"
#include "cpu/reference/kernel_class.h"

namespace lockstep::reference {

void ReferenceKernels::sgd_step(Stream stream, std::span<const SgdTensor> tensors, const SgdParams& params) {
  for (const SgdTensor& tensor : tensors) {
    dispatch("sgd_step", tensor.value.dtype, [&]<class T>() {
      T* value = tensor.value.data<T>();
      T* momentum = tensor.momentum.data<T>();
      const T* grad = tensor.grad.data<T>();
      for (std::int64_t i = 0, n = tensor.value.numel(); i < n; ++i) {
        const double g = tensor.ratio * (static_cast<double>(grad[i]) * params.grad_scale +
                                         tensor.weight_decay * static_cast<double>(value[i]));
        const double buffer = params.momentum * static_cast<double>(momentum[i]) + g;
        momentum[i] = static_cast<T>(buffer);
        const double step = params.nesterov ? g + params.momentum * buffer : buffer;
        value[i] = static_cast<T>(static_cast<double>(value[i]) - tensor.lr * step);
      }
    });
    if (tensor.compute) convert(stream, tensor.value, tensor.compute);
  }
}

void ReferenceKernels::squared_norm(Stream, std::span<const ConstView> tensors, View result) {
  double total = 0;
  for (const ConstView& tensor : tensors)
    dispatch("squared_norm", tensor.dtype, [&]<class T>() {
      const T* in = tensor.data<T>();
      double sum = 0;
      for (std::int64_t i = 0, n = tensor.numel(); i < n; ++i) {
        const auto value = static_cast<double>(in[i]);
        sum += value * value;
      }
      total += sum;
    });
  result.data<double>()[0] = total;
}

void ReferenceKernels::moving_average(Stream, ConstView observed, double momentum, View value) {
  dispatch("moving_average", value.dtype, [&]<class T>() {
    const T* in = observed.data<T>();
    T* out = value.data<T>();
    for (std::int64_t i = 0, n = value.numel(); i < n; ++i)
      out[i] = static_cast<T>((1.0 - momentum) * static_cast<double>(out[i]) + momentum * static_cast<double>(in[i]));
  });
}

}  // namespace lockstep::reference
