// SPDX-License-Identifier: Apache-2.0
#include "train/bench_peaks.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "core/philox.h"
#include "cpu/fast/simd/simd_kernels.h"
#include "cpu/fast/simd_dispatch.h"
#include "train/clock.h"
#include "train/device_timer.h"

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

// On a device a measurement counts once it takes this long: shorter ones measure its start and end, and its caches.
constexpr double kLongMs = 0.3;

// The best of a few runs, in ms.
template <class Work>
double best_device_ms(DeviceTimer& timer, Stream stream, const Work& work) {
  work();  // makes the plan
  double best = 1e30;
  for (int i = 0; i < kRepeats; ++i) best = std::min(best, timer.ms(stream, work));
  return best;
}

// Random operands: on constants a GPU runs faster, because its bits don't toggle.
Tensor random_on_device(const Shape& shape, DType dtype, Kernels& kernels, Stream stream) {
  constexpr std::size_t kDrawn = std::size_t{1} << 20;  // then the same again: drawing 64 M values takes a second
  Tensor source = Tensor::empty(shape, DType::kF32);
  const std::span<float> values = source.host<float>();
  RandomStream random({.seed = 1});
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i < kDrawn ? random.uniform(-1, 1) : values[i - kDrawn];
  Tensor wide = to_device(source, kernels.device());
  if (dtype == DType::kF32) return wide;
  Tensor result = Tensor::empty(shape, dtype, kernels.device());
  kernels.convert(stream, wide, result);
  return result;
}

double device_matmul_gflops(Kernels& kernels, DType dtype, DeviceTimer& timer, Stream stream) {
  constexpr std::int64_t kSmallest = 256, kLargest = 8192;
  double best = 0;
  for (std::int64_t n = kSmallest; n <= kLargest; n *= 2) {
    const Tensor x = random_on_device({n, n}, dtype, kernels, stream), w = random_on_device({n, n}, dtype, kernels, stream);
    Tensor y = Tensor::empty({n, n}, dtype, kernels.device());
    const double ms = best_device_ms(timer, stream, [&] { kernels.linear_forward(stream, x, w, {}, y); });
    const double cube = static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
    best = std::max(best, 2 * cube / ms * 1e-6);
    if (ms > 4 * kLongMs) break;
  }
  return best;
}

// The better of the driver's copy and of our own kernel's, of a size that no cache holds.
double device_copy_gbytes_per_second(Kernels& kernels, DeviceTimer& timer, Stream stream) {
  constexpr std::int64_t kSmallest = std::int64_t{1} << 20, kLargest = std::int64_t{1} << 28;  // elements: 4 MB to 1 GB
  Accelerator& accelerator = accelerator_of(kernels.device());
  for (std::int64_t numel = kSmallest;; numel *= 4) {
    Tensor from = Tensor::empty({numel}, DType::kF32, kernels.device()), to = Tensor::empty({numel}, DType::kF32, kernels.device());
    accelerator.fill_zero(stream, from.ptr(), from.nbytes());
    double ms = best_device_ms(timer, stream, [&] { accelerator.copy(stream, to.ptr(), from.ptr(), from.nbytes()); });
    ms = std::min(ms, best_device_ms(timer, stream, [&] { kernels.accumulate(stream, from, to, GradMode::kOverwrite); }));
    if (ms > kLongMs || numel >= kLargest) return 2.0 * static_cast<double>(from.nbytes()) / ms * 1e-6;
  }
}

Peaks device_peaks(Kernels& kernels, DType dtype) {
  Accelerator& accelerator = accelerator_of(kernels.device());
  DeviceTimer timer(accelerator);
  const Stream stream = accelerator.compute_stream();
  return {device_matmul_gflops(kernels, dtype, timer, stream), device_copy_gbytes_per_second(kernels, timer, stream)};
}

Peaks host_peaks(Kernels& kernels, DType dtype, Communicator& comm) {
  Peaks mine;
  mine.gflops = matmul_gflops(kernels, dtype);
  if (dtype_size(dtype) >= dtype_size(DType::kF32)) mine.gflops = std::max(mine.gflops, fma_gflops(dtype));
  comm.barrier("peak of arithmetic");
  mine.gbytes_per_second = copy_gbytes_per_second();
  return mine;
}

}  // namespace

Peaks measure_peaks(Kernels& kernels, DType dtype, Communicator& comm) {
  comm.barrier("before the peaks");
  const bool host = kernels.device().kind == DeviceKind::kCpu;
  Peaks mine = host ? host_peaks(kernels, dtype, comm) : device_peaks(kernels, dtype);
  for (const Peaks& each : comm.all_gather_values(mine, "peaks")) {
    mine.gflops = std::min(mine.gflops, each.gflops);
    mine.gbytes_per_second = std::min(mine.gbytes_per_second, each.gbytes_per_second);
  }
  return mine;
}

}  // namespace lockstep
