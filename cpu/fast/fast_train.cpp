// FastKernels: loss, optimizer and running statistics.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "cpu/fast/fast_backend.h"
#include "cpu/fast/parallel.h"

namespace lockstep {

void FastKernels::softmax_cross_entropy(Stream stream, ConstView logits, ConstView labels, ConstView mix, double smoothing,
                                        View loss, View dlogits, View sums) {
  if (!statistic_runs_here("softmax_cross_entropy", logits.dtype))
    return reference_->softmax_cross_entropy(stream, logits, labels, mix, smoothing, loss, dlogits, sums);
  const std::int64_t n = logits.shape[0], k = logits.shape[1];
  const auto* label = labels.data<std::int32_t>();
  const auto counted = std::count_if(label, label + n, [](std::int32_t l) { return l >= 0; });
  Tensor losses = Tensor::empty({n}, DType::kF64), better = Tensor::empty({n}, DType::kI32);
  auto *each = losses.host<double>().data();
  auto *rank = better.host<std::int32_t>().data();
  simd_.softmax({.logits = logits.data<float>(), .labels = label, .mix = static_cast<const MixRow*>(mix.ptr), .n = n, .k = k, .smoothing = smoothing,
                 .grad_scale = counted == 0 ? 0.0 : 1.0 / static_cast<double>(counted),
                 .dlogits = dlogits ? dlogits.data<float>() : nullptr, .losses = each, .better = rank});
  double total = 0, top1 = 0, top5 = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    total += each[i];
    top1 += rank[i] < 1 ? 1 : 0;
    top5 += rank[i] < 5 ? 1 : 0;
  }
  *loss.data<float>() = counted == 0 ? 0.0f : static_cast<float>(total / static_cast<double>(counted));
  auto* to = sums.data<double>();
  to[0] = total, to[1] = top1, to[2] = top5, to[3] = static_cast<double>(counted);
}

void FastKernels::sgd_step(Stream stream, std::span<const SgdTensor> tensors, const SgdParams& params) {
  for (const SgdTensor& tensor : tensors) {
    if (!statistic_runs_here("sgd_step", tensor.value.dtype)) {
      reference_->sgd_step(stream, {&tensor, 1}, params);
      continue;
    }
    const simd::Sgd work{.momentum = static_cast<float>(params.momentum), .grad_scale = static_cast<float>(params.grad_scale * tensor.ratio),
                         .weight_decay = static_cast<float>(tensor.weight_decay * tensor.ratio), .lr = static_cast<float>(tensor.lr),
                         .nesterov = params.nesterov};
    auto *value = tensor.value.data<float>(), *momentum = tensor.momentum.data<float>();
    const auto* grad = tensor.grad.data<float>();
    const bool bf16_copy = tensor.compute && tensor.compute.dtype == DType::kBF16;
    auto* compute = bf16_copy ? elements<simd::bf16_word>(tensor.compute) : nullptr;
    parallel_chunks(threads_, tensor.value.numel(), kChunk, [&](auto begin, auto end) {
      simd_.sgd(work, value + begin, grad + begin, momentum + begin, compute == nullptr ? nullptr : compute + begin, end - begin);
    });
    if (tensor.compute && !bf16_copy) convert(stream, tensor.value, tensor.compute);
  }
}

// Chunk by chunk, whatever the number of threads: the order of additions is fixed by the size.
double FastKernels::squared_sum(const float* x, std::int64_t n) const {
  const std::int64_t chunks = (n + kChunk - 1) / kChunk;
  Tensor parts = Tensor::empty({chunks}, DType::kF64);
  auto* part = static_cast<double*>(parts.ptr());
  parallel_for(threads_, chunks, [&](std::int64_t i) {
    part[i] = simd_.squared_sum(x + i * kChunk, std::min(kChunk, n - i * kChunk));
  });
  double total = 0;
  for (std::int64_t i = 0; i < chunks; ++i) total += part[i];
  return total;
}

void FastKernels::squared_norm(Stream stream, std::span<const ConstView> tensors, View result) {
  double total = 0;
  for (const ConstView& tensor : tensors) {
    if (statistic_runs_here("squared_norm", tensor.dtype)) {
      total += squared_sum(tensor.data<float>(), tensor.numel());
      continue;
    }
    Tensor one = Tensor::empty({1}, DType::kF64);
    reference_->squared_norm(stream, {&tensor, 1}, one);
    total += one.host<double>()[0];
  }
  *result.data<double>() = total;
}

void FastKernels::moving_average(Stream stream, ConstView observed, double momentum, View value) {
  if (!statistic_runs_here("moving_average", value.dtype)) return reference_->moving_average(stream, observed, momentum, value);
  simd_.blend(observed.data<float>(), static_cast<float>(1.0 - momentum), static_cast<float>(momentum), value.data<float>(),
              value.numel());
}

}  // namespace lockstep
