// kernel_bench [threads]: speed of the fast CPU backend, call by call. Convolutions in GFLOP/s against the core's best
// layer, the rest in GB/s against a copy: each operand counted once per pass that must touch it.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "cpu/fast/dnnl_adapter.h"
#include "cpu/fast/fast_kernels.h"
#include "cpu/fast/simd_dispatch.h"
#include "ops/conv2d.h"
#include "ops/max_pool.h"

namespace lockstep {
namespace {

bool count_cpu_time = true;

// With one thread: CPU time, which other processes on the machine disturb less than the wall clock.
double now() {
  timespec time{};
  clock_gettime(count_cpu_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Best time of `call` over at least 5 runs and 0.2 s.
double seconds(const std::function<void()>& call) {
  double best = std::numeric_limits<double>::infinity(), total = 0;
  call();
  for (int i = 0; i < 5 || total < 0.2; ++i) {
    const double start = now();
    call();
    const double t = now() - start;
    best = std::min(best, t);
    total += t;
  }
  return best;
}

Tensor noise(const Shape& shape, std::uint64_t id) {
  Tensor tensor = Tensor::empty(shape, DType::kF32);
  RandomStream random({.seed = 1, .b = id});
  for (float& value : tensor.host<float>()) value = random.uniform(-1, 1);
  return tensor;
}

struct Layer {
  std::int64_t count, c, size, k, kernel, stride;  // `count` times in the network
};

void bench_convolutions(Kernels& kernels, DnnlAdapter& dnnl, const char* net, std::int64_t n, const std::vector<Layer>& layers) {
  fmt::print("\n{}, batch {}: GFLOP/s forward, data, filter\n", net, n);
  double totals[3] = {0, 0, 0}, work = 0;
  for (const Layer& l : layers) {
    const int pad = static_cast<int>(l.kernel / 2), stride = static_cast<int>(l.stride);
    const Conv2dParams params{.stride = {stride, stride}, .pad = {pad, pad}};
    const Shape x_shape{n, l.c, l.size, l.size}, w_shape{l.k, l.c, l.kernel, l.kernel};
    const Shape y_shape = conv2d_shape(x_shape, w_shape, params);
    Tensor x = noise(x_shape, 1), w = noise(w_shape, 2), y = noise(y_shape, 3);
    const double flop = 2.0 * static_cast<double>(y_shape.numel() * l.c * l.kernel * l.kernel);
    const double t[3] = {seconds([&] { kernels.conv2d_forward({}, x, w, {}, params, y); }),
                         seconds([&] { kernels.conv2d_backward_data({}, y, w, params, x, GradMode::kOverwrite); }),
                         seconds([&] { kernels.conv2d_backward_filter({}, x, y, params, w, GradMode::kOverwrite); })};
    const auto name = [&](ConvPass pass) {
      return dnnl.implementation({.pass = pass,
                                  .n = n,
                                  .c = l.c,
                                  .h = l.size,
                                  .w = l.size,
                                  .k = l.k,
                                  .r = l.kernel,
                                  .s = l.kernel,
                                  .p = y_shape[2],
                                  .q = y_shape[3],
                                  .stride_h = l.stride,
                                  .stride_w = l.stride,
                                  .pad_h = pad,
                                  .pad_w = pad});
    };
    fmt::print("  {:4}->{:4} {}x{} s{} {:3}^2 x{}: {:4.0f} {:4.0f} {:4.0f}   {} {} {}\n", l.c, l.k, l.kernel, l.kernel, l.stride, l.size,
               l.count, flop / t[0] * 1e-9, flop / t[1] * 1e-9, flop / t[2] * 1e-9, name(ConvPass::kForward),
               name(ConvPass::kBackwardData), name(ConvPass::kBackwardFilter));
    for (int i = 0; i < 3; ++i) totals[i] += t[i] * static_cast<double>(l.count);
    work += flop * static_cast<double>(l.count);
  }
  fmt::print("  all: {:.0f} {:.0f} {:.0f} GFLOP/s; {:.2f} + {:.2f} + {:.2f} ms per image\n", work / totals[0] * 1e-9,
             work / totals[1] * 1e-9, work / totals[2] * 1e-9, totals[0] * 1e3 / static_cast<double>(n),
             totals[1] * 1e3 / static_cast<double>(n), totals[2] * 1e3 / static_cast<double>(n));
}

void report(const char* what, double bytes, const std::function<void()>& call) {
  const double t = seconds(call);
  fmt::print("  {:28} {:8.3f} ms {:6.1f} GB/s\n", what, t * 1e3, bytes / t * 1e-9);
}

void bench_memory(Kernels& k, const Shape& shape) {
  const auto n = static_cast<double>(shape.numel());
  Tensor x = noise(shape, 1), y = noise(shape, 2), dy = noise(shape, 3), mask = Tensor::empty({shape.numel() / 8}, DType::kU8);
  Tensor a = noise({shape[1]}, 4), b = noise({shape[1]}, 5), c = noise({shape[1]}, 6), d = noise({shape[1]}, 7), one = noise({}, 8);
  const GradMode over = GradMode::kOverwrite, on = GradMode::kAccumulate;
  fmt::print("\n{} ({:.1f} MB)\n", shape.str(), n * 4e-6);
  report("memcpy", 8 * n, [&] { std::memcpy(y.ptr(), x.ptr(), x.nbytes()); });
  report("batch_norm_moments", 4 * n, [&] { k.batch_norm_moments({}, x, a, b); });
  report("batch_norm_apply relu mask", 8.125 * n, [&] { k.batch_norm_apply({}, x, a, b, c, d, {}, true, y, mask); });
  report("  + residual", 12.125 * n, [&] { k.batch_norm_apply({}, x, a, b, c, d, dy, true, y, mask); });
  report("batch_norm_backward_sums", 8.125 * n, [&] { k.batch_norm_backward_sums({}, dy, mask, x, a, b, c, d); });
  report("batch_norm_backward_apply", 12.125 * n,
         [&] { k.batch_norm_backward_apply({}, dy, mask, x, a, b, c, d, d, 1e3, y, over, {}, over); });
  report("  in place, residual", 16.125 * n, [&] { k.batch_norm_backward_apply({}, dy, mask, x, a, b, c, d, d, 1e3, dy, over, y, over); });
  report("relu", 8 * n, [&] { k.relu_forward({}, x, y); });
  report("relu_backward", 12 * n, [&] { k.relu_backward({}, dy, y, x, over); });
  report("add", 12 * n, [&] { k.add({}, x, dy, y); });
  report("accumulate", 12 * n, [&] { k.accumulate({}, x, y, on); });
  report("scale", 8 * n, [&] { k.scale({}, x, one, y, over); });
  report("dropout", 8 * n, [&] { k.dropout({}, x, 0.5, {}, y, over); });
  report("bias_backward", 4 * n, [&] { k.bias_backward({}, x, a, over); });
}

void bench_pooling(Kernels& k) {
  const Shape x_shape{8, 64, 112, 112};
  const Pool2dParams params{.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}};
  const Shape y_shape = max_pool_shape(x_shape, params);
  Tensor x = noise(x_shape, 1), y = noise(y_shape, 2), indices = Tensor::empty(y_shape, DType::kU8);
  const auto nx = static_cast<double>(x_shape.numel()), ny = static_cast<double>(y_shape.numel());
  fmt::print("\npooling 3x3 s2, {}\n", x_shape.str());
  report("max_pool_forward", 4 * nx + 5 * ny, [&] { k.max_pool_forward({}, x, params, y, indices); });
  report("max_pool_backward", 4 * nx + 5 * ny, [&] { k.max_pool_backward({}, y, indices, params, x, GradMode::kOverwrite); });
  report("avg_pool_forward", 4 * nx + 4 * ny, [&] { k.avg_pool_forward({}, x, params, y); });
  report("avg_pool_backward", 4 * nx + 4 * ny, [&] { k.avg_pool_backward({}, y, params, x, GradMode::kOverwrite); });
  Tensor wide = noise({64, 2048, 7, 7}, 1), mean = noise({64, 2048}, 2);
  report("global_avg_pool_forward", 4 * 6.4e6, [&] { k.global_avg_pool_forward({}, wide, mean); });
  report("global_avg_pool_backward", 4 * 6.4e6, [&] { k.global_avg_pool_backward({}, mean, wide, GradMode::kOverwrite); });
}

void bench_training(Kernels& k) {
  fmt::print("\nResNet-50's ends\n");
  const std::int64_t n = 25'560'000;
  Tensor value = noise({n}, 1), grad = noise({n}, 2), momentum = noise({n}, 3), result = Tensor::zeros({1}, DType::kF64);
  const SgdTensor work[] = {{value, momentum, grad, 1e-4, 0.1}};
  const ConstView all[] = {grad};
  report("sgd_step", 20.0 * static_cast<double>(n), [&] { k.sgd_step({}, work, {}); });
  report("squared_norm", 4.0 * static_cast<double>(n), [&] { k.squared_norm({}, all, result); });
  Tensor logits = noise({64, 1000}, 4), dlogits = noise({64, 1000}, 5), labels = Tensor::zeros({64}, DType::kI32),
         loss = noise({}, 6), sums = Tensor::zeros({4}, DType::kF64);
  report("softmax 64 x 1000", 64e3 * 8, [&] { k.softmax_cross_entropy({}, logits, labels, 0.1, loss, dlogits, sums); });
  Tensor x = noise({64, 2048}, 1), w = noise({1000, 2048}, 2), y = noise({64, 1000}, 3);
  const double flop = 2.0 * 64 * 2048 * 1000;
  const auto linear = [&](const char* what, const std::function<void()>& call) {
    fmt::print("  {:28} {:6.0f} GFLOP/s\n", what, flop / seconds(call) * 1e-9);
  };
  linear("linear_forward", [&] { k.linear_forward({}, x, w, {}, y); });
  linear("linear_backward_data", [&] { k.linear_backward_data({}, y, w, x, GradMode::kOverwrite); });
  linear("linear_backward_weight", [&] { k.linear_backward_weight({}, x, y, w, GradMode::kOverwrite); });
  Tensor bytes = Tensor::zeros({16, 3, 224, 224}, DType::kU8), image = noise({16, 3, 224, 224}, 1);
  const std::vector<float> mean{0.5f, 0.5f, 0.5f}, inv_std{4, 4, 4};
  report("normalise_image", 5.0 * static_cast<double>(bytes.numel()), [&] { k.normalise_image({}, bytes, mean, inv_std, image); });
}

void run(int threads) {
  count_cpu_time = threads == 1;
  const auto kernels = make_fast_kernels(threads);
  DnnlAdapter dnnl(threads);
  fmt::print("fast kernels: {} thread(s), our kernels with {}\n", threads, select_simd_kernels().isa);
  for (const Shape& shape :
       {Shape{64, 16, 28, 28}, Shape{64, 64, 7, 7}, Shape{16, 64, 112, 112}, Shape{16, 256, 56, 56}, Shape{16, 2048, 7, 7}})
    bench_memory(*kernels, shape);
  bench_pooling(*kernels);
  bench_training(*kernels);
  bench_convolutions(*kernels, dnnl, "ResNet-20 on 28x28x1", 64,
                     {{1, 1, 28, 16, 3, 1}, {6, 16, 28, 16, 3, 1}, {1, 16, 28, 32, 3, 2}, {1, 16, 28, 32, 1, 2}, {5, 32, 14, 32, 3, 1},
                      {1, 32, 14, 64, 3, 2}, {1, 32, 14, 64, 1, 2}, {5, 64, 7, 64, 3, 1}});
  bench_convolutions(*kernels, dnnl, "ResNet-20 on 32x32x3", 64,
                     {{1, 3, 32, 16, 3, 1}, {6, 16, 32, 16, 3, 1}, {5, 32, 16, 32, 3, 1}, {5, 64, 8, 64, 3, 1}});
  bench_convolutions(*kernels, dnnl, "ResNet-50 v1.5 on 224x224x3", 16,
                     {{1, 3, 224, 64, 7, 2},    {1, 64, 56, 64, 1, 1},    {3, 64, 56, 64, 3, 1},   {4, 64, 56, 256, 1, 1},
                      {2, 256, 56, 64, 1, 1},   {1, 256, 56, 128, 1, 1},  {1, 128, 56, 128, 3, 2}, {1, 256, 56, 512, 1, 2},
                      {3, 128, 28, 128, 3, 1},  {4, 128, 28, 512, 1, 1},  {3, 512, 28, 128, 1, 1}, {1, 512, 28, 256, 1, 1},
                      {1, 256, 28, 256, 3, 2},  {1, 512, 28, 1024, 1, 2}, {5, 256, 14, 256, 3, 1}, {6, 256, 14, 1024, 1, 1},
                      {5, 1024, 14, 256, 1, 1}, {1, 1024, 14, 512, 1, 1}, {1, 512, 14, 512, 3, 2}, {1, 1024, 14, 2048, 1, 2},
                      {2, 512, 7, 512, 3, 1},   {3, 512, 7, 2048, 1, 1},  {2, 2048, 7, 512, 1, 1}});
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  lockstep::run(argc > 1 ? std::atoi(argv[1]) : 1);
  return 0;
}
