// SPDX-License-Identifier: Apache-2.0
#include "train/bench_peaks.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "cpu/fast/simd/simd_kernels.h"
#include "cpu/fast/simd_dispatch.h"
#include "train/clock.h"

namespace lockstep {
namespace {

constexpr int kRepeats = 5;

template <class Work>
double best_seconds(const Work& work) {
  double best = 1e30;
  for (int i = 0; i < kRepeats; ++i) {
    const std::int64_t begin = steady_ns();
    work();
    best = std::min(best, static_cast<double>(steady_ns() - begin) * 1e-9);
  }
  return best;
}

double fma_gflops(DType dtype) {
  constexpr std::int64_t kRounds = 4'000'000;
  const simd::SimdKernels& simd = select_simd_kernels();
  volatile float sink = 0;
  const double seconds = best_seconds([&] { sink = sink + simd.fma_chains(kRounds, 0.5f); });
  const double f32 = simd.fma_operations * static_cast<double>(kRounds) / seconds * 1e-9;
  return dtype == DType::kF64 ? f32 / 2 : f32;
}

Tensor ones(const Shape& shape, DType dtype, Kernels& kernels) {
  Tensor source = Tensor::zeros(shape, DType::kF32);
  std::ranges::fill(source.host<float>(), 1.0f);
  if (dtype == DType::kF32) return source;
  Tensor result = Tensor::empty(shape, dtype);
  kernels.convert({}, source, result);
  return result;
}

// Square products large enough to fill the units, small enough for a slow backend.
double matmul_gflops(Kernels& kernels, DType dtype) {
  double best = 0;
  for (const std::int64_t n : {512, 1024}) {
    const Tensor x = ones({n, n}, dtype, kernels), w = ones({n, n}, dtype, kernels);
    Tensor y = Tensor::empty({n, n}, dtype);
    const double cube = static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
    kernels.linear_forward({}, x, w, {}, y);
    best = std::max(best, 2 * cube / best_seconds([&] { kernels.linear_forward({}, x, w, {}, y); }) * 1e-9);
    if (best < 10) break;  // plain loops: the larger one would take seconds
  }
  return best;
}

// The size of a large layer's activations: far beyond the core's own caches.
double copy_gbytes_per_second() {
  constexpr std::size_t kBytes = std::size_t{32} << 20;
  std::vector<char> from(kBytes, 1), to(kBytes, 2);
  return 2.0 * static_cast<double>(kBytes) / best_seconds([&] { std::memcpy(to.data(), from.data(), kBytes); }) * 1e-9;
}

}  // namespace

Peaks measure_peaks(Kernels& kernels, DType dtype, Communicator& comm) {
  comm.barrier("before the peaks");
  Peaks mine;
  mine.gflops = matmul_gflops(kernels, dtype);
  if (dtype_size(dtype) >= dtype_size(DType::kF32)) mine.gflops = std::max(mine.gflops, fma_gflops(dtype));
  comm.barrier("peak of arithmetic");
  mine.gbytes_per_second = copy_gbytes_per_second();
  for (const Peaks& each : comm.all_gather_values(mine, "peaks")) {
    mine.gflops = std::min(mine.gflops, each.gflops);
    mine.gbytes_per_second = std::min(mine.gbytes_per_second, each.gbytes_per_second);
  }
  return mine;
}

}  // namespace lockstep
