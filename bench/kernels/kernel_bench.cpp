// kernel_bench [threads [memory | depthwise]]: speed of the fast CPU backend, call by call, f32 and bf16. Convolutions in GFLOP/s
// against the core's best layer; the rest in GB/s, each operand counted once per pass that must touch it, and as a share of
// what a copy (or, for kernels that only read, a sum) of the same bytes reaches. "memory": without the convolutions;
// "depthwise": those, and kernels across channels, alone.
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
#include "cpu/fast/pointwise_conv.h"
#include "cpu/fast/simd_dispatch.h"
#include "cpu/fast/winograd.h"
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

Tensor noise(const Shape& shape, std::uint64_t id, DType dtype = DType::kF32) {
  Tensor tensor = Tensor::empty(shape, dtype);
  RandomStream random({.seed = 1, .b = id});
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    const float value = random.uniform(-1, 1);
    if (dtype == DType::kBF16)
      tensor.host<bf16>()[static_cast<std::size_t>(i)] = bf16(value);
    else
      tensor.host<float>()[static_cast<std::size_t>(i)] = value;
  }
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
    ConvProblem problem{.n = n, .c = l.c, .h = l.size, .w = l.size, .k = l.k, .r = l.kernel, .s = l.kernel, .p = y_shape[2],
                        .q = y_shape[3], .stride_h = l.stride, .stride_w = l.stride, .pad_h = pad, .pad_w = pad};
    fmt::print("  {:4}->{:4} {}x{} s{} {:3}^2 x{}: {:4.0f} {:4.0f} {:4.0f}  ", l.c, l.k, l.kernel, l.kernel, l.stride, l.size, l.count,
               flop / t[0] * 1e-9, flop / t[1] * 1e-9, flop / t[2] * 1e-9);
    if (Winograd::wins(problem, bf16_products())) {  // all in FLOP of the direct sums
      const double forward = seconds([&] { dnnl.convolution(problem, x.ptr(), w.ptr(), nullptr, y.ptr()); });
      problem.pass = ConvPass::kBackwardData;
      const double data = seconds([&] { dnnl.convolution_backward_data(problem, y.ptr(), w.ptr(), x.ptr()); });
      problem.pass = ConvPass::kBackwardFilter;
      float* dw = w.host<float>().data();
      const double filter = seconds([&] { dnnl.convolution_backward_filter(problem, x.ptr(), y.ptr(), dw); });
      fmt::print(" winograd; direct {:4.0f} {:4.0f} {:4.0f}\n", flop / forward * 1e-9, flop / data * 1e-9, flop / filter * 1e-9);
    } else {
      for (const ConvPass pass : {ConvPass::kForward, ConvPass::kBackwardData, ConvPass::kBackwardFilter}) {
        problem.pass = pass;
        fmt::print(" {}", PointwiseConv(select_simd_kernels(), 1).wins(problem, false) ? "our product" : dnnl.implementation(problem));
      }
      fmt::print("\n");
    }
    for (int i = 0; i < 3; ++i) totals[i] += t[i] * static_cast<double>(l.count);
    work += flop * static_cast<double>(l.count);
  }
  fmt::print("  all: {:.0f} {:.0f} {:.0f} GFLOP/s; {:.2f} + {:.2f} + {:.2f} ms per image\n", work / totals[0] * 1e-9,
             work / totals[1] * 1e-9, work / totals[2] * 1e-9, totals[0] * 1e3 / static_cast<double>(n),
             totals[1] * 1e3 / static_cast<double>(n), totals[2] * 1e3 / static_cast<double>(n));
}

// What memory gives to a working set of some bytes: GB/s of a copy (read + written) and of reading.
struct Bandwidth {
  double copy, read;
};

Bandwidth measure_bandwidth(const simd::SimdKernels& simd, std::int64_t nbytes) {
  const std::int64_t n = nbytes / 4;
  Tensor x = noise({n}, 1), y = noise({n}, 2);
  volatile double sink = 0;
  const double copied = seconds([&] { std::memcpy(y.ptr(), x.ptr(), x.nbytes()); });
  const double read = seconds([&] { sink = simd.squared_sum(x.host<float>().data(), n); });
  return {2e-9 * static_cast<double>(nbytes) / copied, 1e-9 * static_cast<double>(nbytes) / read};
}

class Report {
 public:
  // `nbytes` of the tensor that the calls work on: the yardstick is a copy of as many.
  Report(const std::string& what, std::int64_t nbytes) : bandwidth_(measure_bandwidth(select_simd_kernels(), nbytes)) {
    fmt::print("\n{} ({:.1f} MB): copy {:.1f} GB/s, read {:.1f} GB/s\n", what, static_cast<double>(nbytes) * 1e-6, bandwidth_.copy,
               bandwidth_.read);
  }
  void line(const char* what, double nbytes, const std::function<void()>& call, bool reads_only = false) const {
    const double t = seconds(call), speed = nbytes / t * 1e-9;
    fmt::print("  {:30} {:8.1f} us {:7.2f} MB {:6.1f} GB/s {:4.0f} %\n", what, t * 1e6, nbytes * 1e-6, speed,
               100 * speed / (reads_only ? bandwidth_.read : bandwidth_.copy));
  }

 private:
  Bandwidth bandwidth_;
};

void bench_norm(Kernels& k, const Shape& shape, DType dtype) {
  const double n = static_cast<double>(shape.numel()), size = static_cast<double>(dtype_size(dtype)), bit = 0.125;
  Tensor x = noise(shape, 1, dtype), y = noise(shape, 2, dtype), dy = noise(shape, 3, dtype),
         mask = Tensor::empty({shape.numel() / 8}, DType::kU8);
  Tensor a = noise({shape[1]}, 4), b = noise({shape[1]}, 5), c = noise({shape[1]}, 6), d = noise({shape[1]}, 7);
  const NormVectors norm{a, b, c, d};
  const ReluGate bits = ReluGate::from_bits(mask), again = ReluGate::recompute();
  const GradMode over = GradMode::kOverwrite, on = GradMode::kAccumulate;
  const Report report("batch norm, " + shape.str() + " " + std::string(dtype_name(dtype)), static_cast<std::int64_t>(n * size));
  report.line("moments", size * n, [&] { k.batch_norm_moments({}, x, a, b); }, true);
  report.line("apply, relu", 2 * size * n, [&] { k.batch_norm_apply({}, x, norm, {}, true, y, {}); });
  report.line("apply, relu, mask", (2 * size + bit) * n, [&] { k.batch_norm_apply({}, x, norm, {}, true, y, mask); });
  report.line("apply, residual, relu, mask", (3 * size + bit) * n, [&] { k.batch_norm_apply({}, x, norm, dy, true, y, mask); });
  report.line("sums, bits", (2 * size + bit) * n, [&] { k.batch_norm_backward_sums({}, dy, bits, x, norm, c, d); }, true);
  report.line("sums, recomputed", 2 * size * n, [&] { k.batch_norm_backward_sums({}, dy, again, x, norm, c, d); }, true);
  report.line("backward, bits", (3 * size + bit) * n,
              [&] { k.batch_norm_backward_apply({}, dy, bits, x, norm, c, d, 1e3, y, over, {}, over); });
  report.line("backward, recomputed", 3 * size * n,
              [&] { k.batch_norm_backward_apply({}, dy, again, x, norm, c, d, 1e3, y, over, {}, over); });
  report.line("  in place, bits, residual", (4 * size + bit) * n,
              [&] { k.batch_norm_backward_apply({}, dy, bits, x, norm, c, d, 1e3, dy, over, y, over); });
  report.line("  in place, bits, residual added", (5 * size + bit) * n,
              [&] { k.batch_norm_backward_apply({}, dy, bits, x, norm, c, d, 1e3, dy, over, y, on); });
}

void bench_elementwise(Kernels& k, const Shape& shape, DType dtype) {
  const double n = static_cast<double>(shape.numel()), size = static_cast<double>(dtype_size(dtype));
  Tensor x = noise(shape, 1, dtype), y = noise(shape, 2, dtype), dy = noise(shape, 3, dtype), wide = noise(shape, 4), one = noise({}, 8),
         bias = noise({shape[1]}, 5);
  const GradMode over = GradMode::kOverwrite, on = GradMode::kAccumulate;
  const Report report("elementwise, " + shape.str() + " " + std::string(dtype_name(dtype)), static_cast<std::int64_t>(n * size));
  report.line("relu", 2 * size * n, [&] { k.relu_forward({}, x, y); });
  report.line("relu_backward", 3 * size * n, [&] { k.relu_backward({}, dy, y, x, over); });
  report.line("add", 3 * size * n, [&] { k.add({}, x, dy, y); });
  report.line("accumulate", 3 * size * n, [&] { k.accumulate({}, x, y, on); });
  report.line("copy", 2 * size * n, [&] { k.accumulate({}, x, y, over); });
  report.line("scale", 2 * size * n, [&] { k.scale({}, x, one, y, over); });
  report.line("dropout", 2 * size * n, [&] { k.dropout({}, x, 0.5, {}, y, over); });
  report.line("bias_backward", size * n, [&] { k.bias_backward({}, x, bias, over); }, true);
  if (dtype == DType::kF32) return;
  report.line("convert from f32", 6 * n, [&] { k.convert({}, wide, y); });
  report.line("convert to f32", 6 * n, [&] { k.convert({}, y, wide); });
}

void bench_pooling(Kernels& k, DType dtype) {
  const Shape x_shape{8, 64, 112, 112};
  const Pool2dParams params{.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1}};
  const Shape y_shape = max_pool_shape(x_shape, params);
  Tensor x = noise(x_shape, 1, dtype), y = noise(y_shape, 2, dtype), indices = Tensor::empty(y_shape, DType::kU8);
  const GradMode over = GradMode::kOverwrite;
  const double size = static_cast<double>(dtype_size(dtype)), nx = static_cast<double>(x_shape.numel()),
               ny = static_cast<double>(y_shape.numel()), both = size * (nx + ny);
  const Report report("pooling 3x3 s2, " + x_shape.str() + " " + std::string(dtype_name(dtype)), static_cast<std::int64_t>(nx * size));
  report.line("max_pool_forward", both + ny, [&] { k.max_pool_forward({}, x, params, y, indices); });
  report.line("max_pool_backward", both + ny, [&] { k.max_pool_backward({}, y, indices, params, x, over); });
  report.line("avg_pool_forward", both, [&] { k.avg_pool_forward({}, x, params, y); });
  report.line("avg_pool_backward", both, [&] { k.avg_pool_backward({}, y, params, x, over); });
  Tensor wide = noise({64, 2048, 7, 7}, 1, dtype), mean = noise({64, 2048}, 2, dtype);
  report.line("global_avg_pool_forward", size * 6.4e6, [&] { k.global_avg_pool_forward({}, wide, mean); }, true);
  report.line("global_avg_pool_backward", size * 6.4e6, [&] { k.global_avg_pool_backward({}, mean, wide, over); });
  Tensor bytes = Tensor::zeros({16, 3, 224, 224}, DType::kU8), image = noise({16, 3, 224, 224}, 1, dtype);
  const std::vector<float> center{0.5f, 0.5f, 0.5f}, inv_std{4, 4, 4};
  report.line("normalise_image", (1 + size) * 2408448, [&] { k.normalise_image({}, bytes, center, inv_std, image); });
}

void bench_training(Kernels& k) {
  const std::int64_t n = 25'560'000;
  const auto count = static_cast<double>(n);
  Tensor value = noise({n}, 1), grad = noise({n}, 2), momentum = noise({n}, 3), copy = noise({n}, 4, DType::kBF16),
         result = Tensor::zeros({1}, DType::kF64);
  const SgdTensor work[] = {{value, momentum, {}, grad, 1e-4, 0.1}}, both[] = {{value, momentum, copy, grad, 1e-4, 0.1}};
  const ConstView all[] = {grad};
  const Report report("ResNet-50's parameters", 4 * n);
  report.line("sgd_step", 20 * count, [&] { k.sgd_step({}, work, {}); });
  report.line("sgd_step with a bf16 copy", 22 * count, [&] { k.sgd_step({}, both, {}); });
  report.line("squared_norm", 4 * count, [&] { k.squared_norm({}, all, result); }, true);
  Tensor logits = noise({64, 1000}, 4), dlogits = noise({64, 1000}, 5), labels = Tensor::zeros({64}, DType::kI32),
         loss = noise({}, 6), sums = Tensor::zeros({4}, DType::kF64);
  report.line("softmax 64 x 1000", 64e3 * 8, [&] { k.softmax_cross_entropy({}, logits, labels, {}, 0.1, loss, dlogits, sums); });
}

void bench_linear(Kernels& k) {
  Tensor x = noise({64, 2048}, 1), w = noise({1000, 2048}, 2), y = noise({64, 1000}, 3);
  const double flop = 2.0 * 64 * 2048 * 1000;
  const auto line = [&](const char* what, const std::function<void()>& call) {
    fmt::print("  {:30} {:6.0f} GFLOP/s\n", what, flop / seconds(call) * 1e-9);
  };
  fmt::print("\nclassifier 64 x 2048 x 1000\n");
  line("linear_forward", [&] { k.linear_forward({}, x, w, {}, y); });
  line("linear_backward_data", [&] { k.linear_backward_data({}, y, w, x, GradMode::kOverwrite); });
  line("linear_backward_weight", [&] { k.linear_backward_weight({}, x, y, w, GradMode::kOverwrite); });
}

// A depthwise layer against a copy of its input, and against oneDNN.
void bench_depthwise_layer(Kernels& k, DnnlAdapter& dnnl, std::int64_t channels, std::int64_t size, int kernel, int stride, DType dtype) {
  const std::int64_t n = 16;
  const Conv2dParams params{.stride = {stride, stride}, .pad = {kernel / 2, kernel / 2}, .groups = static_cast<int>(channels)};
  const Shape x_shape{n, channels, size, size}, w_shape{channels, 1, kernel, kernel}, y_shape = conv2d_shape(x_shape, w_shape, params);
  Tensor x = noise(x_shape, 1, dtype), w = noise(w_shape, 2, dtype), y = noise(y_shape, 3, dtype), dw = noise(w_shape, 4);
  const GradMode over = GradMode::kOverwrite;
  const double both = static_cast<double>(dtype_size(dtype)) * static_cast<double>(x.numel() + y.numel());
  const Report report(fmt::format("depthwise {}x{} stride {}, {} {}", kernel, kernel, stride, x_shape.str(), dtype_name(dtype)),
                      static_cast<std::int64_t>(x.nbytes()));
  ConvProblem problem{.n = n, .c = channels, .h = size, .w = size, .k = channels, .r = kernel, .s = kernel, .p = y_shape[2], .q = y_shape[3],
                      .stride_h = stride, .stride_w = stride, .pad_h = kernel / 2, .pad_w = kernel / 2, .groups = channels, .dtype = dtype};
  report.line("forward", both, [&] { k.conv2d_forward({}, x, w, {}, params, y); });
  report.line("  oneDNN", both, [&] { dnnl.convolution(problem, x.ptr(), w.ptr(), nullptr, y.ptr()); });
  problem.pass = ConvPass::kBackwardData;
  report.line("data gradient", both, [&] { k.conv2d_backward_data({}, y, w, params, x, over); });
  report.line("  oneDNN", both, [&] { dnnl.convolution_backward_data(problem, y.ptr(), w.ptr(), x.ptr()); });
  problem.pass = ConvPass::kBackwardFilter;
  report.line("filter gradient", both, [&] { k.conv2d_backward_filter({}, x, y, params, dw, over); }, true);
  report.line("  oneDNN", both, [&] { dnnl.convolution_backward_filter(problem, x.ptr(), y.ptr(), dw.host<float>().data()); }, true);
}

void bench_channels(Kernels& k, DType dtype) {
  const Shape shape{16, 240, 28, 28};
  Tensor x = noise(shape, 1, dtype), y = noise(shape, 2, dtype), dy = noise(shape, 3, dtype);
  const double one = static_cast<double>(x.nbytes());
  const GradMode over = GradMode::kOverwrite;
  const Report report("across channels, " + shape.str() + " " + std::string(dtype_name(dtype)), static_cast<std::int64_t>(one));
  const ResponseNorm norm{};
  report.line("response_norm_forward", 2 * one, [&] { k.response_norm_forward({}, x, norm, y); });
  report.line("response_norm_backward", 3 * one, [&] { k.response_norm_backward({}, dy, x, norm, y, over); });
  for (const int groups : {2, 3, 8, 80, 15})
    report.line(fmt::format("shuffle_channels, {} groups", groups).c_str(), 2 * one, [&] { k.shuffle_channels({}, x, groups, y, over); });
  report.line("shift_channels", 2 * one, [&] { k.shift_channels({}, x, {}, y, over); });
  const Activation functions[] = {{Activation::Kind::kLeakyRelu, 0.01}, {Activation::Kind::kTanh}, {Activation::Kind::kSigmoid},
                                  {Activation::Kind::kClamp, 0, 6}};
  for (const Activation& function : functions) {
    const std::string name = fmt::format("activation {}", static_cast<int>(function.kind));
    report.line(name.c_str(), 2 * one, [&] { k.activation_forward({}, x, function, y); });
    report.line((name + " backward").c_str(), 3 * one, [&] { k.activation_backward({}, dy, x, function, y, over); });
  }
}

void bench_depthwise(Kernels& k, DnnlAdapter& dnnl) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    bench_depthwise_layer(k, dnnl, 64, 112, 3, 2, dtype);  // of MobileNet v1 and v2
    bench_depthwise_layer(k, dnnl, 128, 56, 3, 1, dtype);
    bench_depthwise_layer(k, dnnl, 144, 56, 3, 2, dtype);
    bench_depthwise_layer(k, dnnl, 512, 14, 3, 1, dtype);
    bench_depthwise_layer(k, dnnl, 960, 7, 3, 1, dtype);
    bench_depthwise_layer(k, dnnl, 96, 28, 5, 1, dtype);
    bench_depthwise_layer(k, dnnl, 96, 28, 5, 2, dtype);
    bench_channels(k, dtype);
  }
}

void bench_memory(Kernels& kernels) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const Shape& shape :
         {Shape{64, 16, 28, 28}, Shape{64, 64, 7, 7}, Shape{16, 64, 112, 112}, Shape{16, 256, 56, 56}, Shape{16, 2048, 7, 7}})
      bench_norm(kernels, shape, dtype);
    for (const Shape& shape : {Shape{64, 64, 7, 7}, Shape{16, 256, 56, 56}}) bench_elementwise(kernels, shape, dtype);
    bench_pooling(kernels, dtype);
  }
  bench_training(kernels);
}

// Our own matrix product, one thread: as 1x1 convolutions and Winograd call it.
void bench_gemm(const simd::SimdKernels& simd) {
  fmt::print("\nour gemm, B packed: m x n x k\n");
  for (const Shape& shape : {Shape{192, 64, 64}, Shape{192, 256, 64}, Shape{192, 128, 512}, Shape{192, 1024, 256}, Shape{784, 512, 2048}}) {
    const std::int64_t m = shape[0], n = shape[1], k = shape[2];
    Tensor a = noise({m, k}, 1), b = noise({k, n}, 2), c = noise({m, n}, 3), packed = noise({simd.packed_size(n, k)}, 4);
    const auto data = [](Tensor& tensor) { return tensor.host<float>().data(); };
    simd.pack(data(b), n, 1, n, k, data(packed));
    constexpr int kCalls = 50;  // the clock is too coarse for one
    const double t = seconds([&] {
      for (int call = 0; call < kCalls; ++call)
        simd.gemm({.a = data(a), .a_row = k, .a_col = 1, .b = data(packed), .b_row = 0, .c = data(c), .c_row = n, .m = m,
                   .n = n, .k = k, .b_packed = true});
    }) / kCalls;
    fmt::print("  {:4} x {:4} x {:4}           {:6.0f} GFLOP/s\n", m, n, k, 2e-9 * static_cast<double>(m * n * k) / t);
  }
}

void run(int threads, const std::string& part) {
  count_cpu_time = threads == 1;
  const auto kernels = make_fast_kernels(threads);
  DnnlAdapter dnnl(threads);
  fmt::print("fast kernels: {} thread(s), our kernels with {}\n", threads, select_simd_kernels().isa);
  if (part == "depthwise") return bench_depthwise(*kernels, dnnl);
  bench_memory(*kernels);
  if (part == "memory") return;
  bench_depthwise(*kernels, dnnl);
  bench_linear(*kernels);
  bench_gemm(select_simd_kernels());
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
  lockstep::run(argc > 1 ? std::atoi(argv[1]) : 1, argc > 2 ? argv[2] : "");
  return 0;
}
