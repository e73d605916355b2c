// The optimizer's kernels: norms of chunks, the verdict on a step, the update, the running statistics. Inside optimizer.cu only.
//
// Norms read each gradient once (4 bytes an element; with LARS the values too); the update reads value, gradient and momentum
// and writes value, momentum and the 16-bit copy: 22 bytes an element. The verdict is one block over some thousand numbers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "cuda/kernels/map.h"
#include "cuda/kernels/optimizer_table.h"
#include "ops/step_control.h"

namespace lockstep::cuda {

struct NoShared {};
struct NoLocal {};

// What the verdict leaves for the update.
struct Verdict {
  double grad_scale = 0;
  std::int64_t update = 0;  // 0: the step updates nothing
};

// sums[y][chunk] = sum of squares, in double; y = 0: gradients, y = 1: values of tensors that decay (others: 0).
struct ChunkNorms {
  static constexpr int kThreads = 256, kPhases = 3, kGroups = 16;
  struct Shared {
    double sums[kThreads];
  };
  using Local = NoLocal;

  const TensorEntry* tensors;
  const std::int32_t* owners;
  double* sums;

  template <int phase>
  LS_DEVICE void run(const Block& block, int thread, Shared& shared, Local&) const {
    if constexpr (phase == 0) {
      const TensorEntry& tensor = tensors[owners[block.x]];
      const float* x = block.y == 0 ? tensor.grad : tensor.value;
      const bool wanted = block.y == 0 || tensor.weight_decay != 0;
      shared.sums[thread] = wanted ? own_sum(x, tensor, (block.x - tensor.first_chunk) * kChunkElements, thread) : 0.0;
    } else if constexpr (phase == 1) {
      if (thread < kGroups)
        for (int k = 1; k < kThreads / kGroups; ++k) shared.sums[thread] += shared.sums[thread + k * kGroups];
    } else if (thread == 0) {
      double total = 0;
      for (int k = 0; k < kGroups; ++k) total += shared.sums[k];
      sums[block.y * block.count_x + block.x] = total;
    }
  }

  LS_DEVICE static double own_sum(const float* x, const TensorEntry& tensor, std::int64_t begin, int thread) {
    constexpr int kN = 4;
    const std::int64_t end = begin + kChunkElements < tensor.numel ? begin + kChunkElements : tensor.numel;
    double sum = 0;
    for (std::int64_t i = begin + thread * kN; i < end; i += kThreads * kN) {
      const Pack<float, kN> pack = read_pack<kN>(x, i, end, tensor.aligned && i + kN <= end);
      for (int j = 0; j < kN; ++j) sum += static_cast<double>(pack.at[j]) * static_cast<double>(pack.at[j]);
    }
    return sum;
  }
};

// One block: result = sum of `count` numbers.
struct AddAll {
  static constexpr int kThreads = 256, kPhases = 3, kGroups = 16;
  struct Shared {
    double sums[kThreads];
  };
  using Local = NoLocal;

  const double* numbers;
  std::int64_t count;
  double* result;

  template <int phase>
  LS_DEVICE void run(const Block&, int thread, Shared& shared, Local&) const {
    if constexpr (phase == 0) {
      double own = 0;
      for (std::int64_t i = thread; i < count; i += kThreads) own += numbers[i];
      shared.sums[thread] = own;
    } else if constexpr (phase == 1) {
      if (thread < kGroups)
        for (int k = 1; k < kThreads / kGroups; ++k) shared.sums[thread] += shared.sums[thread + k * kGroups];
    } else if (thread == 0) {
      double total = 0;
      for (int k = 0; k < kGroups; ++k) total += shared.sums[k];
      *result = total;
    }
  }
};

// What a chunk's update needs besides the tensor. LARS's ratio is part of grad_scale and weight_decay.
struct SgdArithmetic {
  float momentum, grad_scale, weight_decay, rate;
  bool nesterov;

  // Sets momentum and value of one element.
  LS_DEVICE void apply(float grad, float& buffer, float& value) const {
    const float g = grad * grad_scale + weight_decay * value;
    buffer = momentum * buffer + g;
    value = value - rate * (nesterov ? g + momentum * buffer : buffer);
  }
};

template <class Compute>
LS_DEVICE void update_chunk(const TensorEntry& tensor, std::int64_t begin, int thread, int threads, const SgdArithmetic& sgd) {
  constexpr int kN = 4;
  const std::int64_t end = begin + kChunkElements < tensor.numel ? begin + kChunkElements : tensor.numel;
  for (std::int64_t i = begin + thread * kN; i < end; i += threads * kN) {
    const bool whole = tensor.aligned && i + kN <= end;
    const Pack<float, kN> grad = read_pack<kN>(tensor.grad, i, end, whole);
    Pack<float, kN> value = read_pack<kN>(tensor.value, i, end, whole);
    Pack<float, kN> buffer = read_pack<kN>(tensor.momentum, i, end, whole);
    for (int j = 0; j < kN; ++j) sgd.apply(grad.at[j], buffer.at[j], value.at[j]);
    write_pack<kN>(tensor.value, i, end, whole, value);
    write_pack<kN>(tensor.momentum, i, end, whole, buffer);
    if constexpr (!std::is_same_v<Compute, float>) {
      Pack<Compute, kN> copy;
      for (int j = 0; j < kN; ++j) copy.at[j] = from_float<Compute>(value.at[j]);
      write_pack<kN>(static_cast<Compute*>(tensor.compute), i, end, whole, copy);
    }
  }
}

LS_DEVICE void update_chunk_of(const TensorEntry& tensor, std::int64_t chunk, int thread, int threads, const SgdArithmetic& sgd) {
  const std::int64_t begin = (chunk - tensor.first_chunk) * kChunkElements;
  if (tensor.compute == nullptr)
    update_chunk<float>(tensor, begin, thread, threads, sgd);
  else if (tensor.compute_dtype == DType::kBF16)
    update_chunk<bf16>(tensor, begin, thread, threads, sgd);
  else
    update_chunk<f16>(tensor, begin, thread, threads, sgd);
}

// The update of tensors [first_tensor, ...) with rates and ratios that the call brings.
struct UpdateAtRates {
  static constexpr int kThreads = 256, kPhases = 1, kRates = 448;
  using Shared = NoShared;
  using Local = NoLocal;

  const TensorEntry* tensors;
  const std::int32_t* owners;
  std::int64_t first_chunk;
  std::int32_t first_tensor;
  float momentum;
  double grad_scale;
  bool nesterov;
  float rates[kRates], ratios[kRates];

  template <int phase>
  LS_DEVICE void run(const Block& block, int thread, Shared&, Local&) const {
    const std::int64_t chunk = first_chunk + block.x;
    const std::int32_t owner = owners[chunk];
    const double ratio = static_cast<double>(ratios[owner - first_tensor]);
    const SgdArithmetic sgd{momentum, static_cast<float>(grad_scale * ratio), static_cast<float>(tensors[owner].weight_decay * ratio),
                            rates[owner - first_tensor], nesterov};
    update_chunk_of(tensors[owner], chunk, thread, kThreads, sgd);
  }
};

// The update of all tensors, if the verdict allows it.
struct UpdateByVerdict {
  static constexpr int kThreads = 256, kPhases = 1;
  using Shared = NoShared;
  using Local = NoLocal;

  const TensorEntry* tensors;
  const std::int32_t* owners;
  const Verdict* verdict;
  const double *rates, *ratios;
  float momentum;
  bool nesterov;

  template <int phase>
  LS_DEVICE void run(const Block& block, int thread, Shared&, Local&) const {
    if (verdict->update == 0) return;
    const std::int32_t owner = owners[block.x];
    const SgdArithmetic sgd{momentum, static_cast<float>(verdict->grad_scale * ratios[owner]),
                            static_cast<float>(tensors[owner].weight_decay * ratios[owner]), static_cast<float>(rates[owner]), nesterov};
    update_chunk_of(tensors[owner], block.x, thread, kThreads, sgd);
  }
};

// value = keep * value + take * observed.
struct Blend {
  static constexpr int kInputs = 2;
  float keep, take;
  LS_DEVICE float operator()(float value, float observed) const { return keep * value + take * observed; }
};

// All running statistics, if the verdict allows it.
struct AverageByVerdict {
  static constexpr int kThreads = 256, kPhases = 1;
  using Shared = NoShared;
  using Local = NoLocal;

  const AverageEntry* averages;
  const std::int32_t* owners;
  const Verdict* verdict;

  template <int phase>
  LS_DEVICE void run(const Block& block, int thread, Shared&, Local&) const {
    if (verdict->update == 0) return;
    const AverageEntry& average = averages[owners[block.x]];
    const Blend blend{average.keep, average.take};
    const std::int64_t begin = (block.x - average.first_chunk) * kChunkElements;
    const std::int64_t end = begin + kChunkElements < average.numel ? begin + kChunkElements : average.numel;
    for (std::int64_t i = begin + thread; i < end; i += kThreads) average.value[i] = blend(average.value[i], average.observed[i]);
  }
};

// All of a table's averages at one momentum, unless the step was not finite.
struct AverageAll {
  static constexpr int kThreads = 256, kPhases = 1;
  using Shared = NoShared;
  using Local = NoLocal;

  const AverageEntry* averages;
  const std::int32_t* owners;
  const StepControl* control;  // or null
  Blend blend;

  template <int phase>
  LS_DEVICE void run(const Block& block, int thread, Shared&, Local&) const {
    if (control != nullptr && control->finite == 0) return;
    const AverageEntry& average = averages[owners[block.x]];
    const std::int64_t begin = (block.x - average.first_chunk) * kChunkElements;
    const std::int64_t end = begin + kChunkElements < average.numel ? begin + kChunkElements : average.numel;
    constexpr int kN = 4;
    for (std::int64_t i = begin + thread * kN; i < end; i += kThreads * kN) {
      const bool whole = average.aligned && i + kN <= end;
      Pack<float, kN> value = read_pack<kN>(average.value, i, end, whole);
      const Pack<float, kN> observed = read_pack<kN>(average.observed, i, end, whole);
      for (int j = 0; j < kN; ++j) value.at[j] = blend(value.at[j], observed.at[j]);
      write_pack<kN>(average.value, i, end, whole, value);
    }
  }
};

}  // namespace lockstep::cuda
