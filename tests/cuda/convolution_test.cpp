// The CUDA backend's plain convolutions against the f64 reference: every layer kind, all dtypes, gradients that accumulate.
// SPDX-License-Identifier: Apache-2.0
#include "core/error.h"
#include "core/memory.h"
#include "tests/cuda/convolution_test_util.h"

namespace lockstep {
namespace {

using namespace convolution_tests;

// Stems of 1 to 4 channels, ResNet's layers, and the odd: size 1, channels that are no multiple of 8, unequal strides and pads,
// dilation, groups, depthwise.
std::vector<ConvCase> conv_cases() {
  return {{{2, 1, 9, 9}, {8, 1, 3, 3}, {.pad = {1, 1}}},
          {{2, 2, 7, 8}, {5, 2, 3, 3}, {.pad = {1, 1}}},
          {{1, 3, 21, 21}, {16, 3, 7, 7}, {.stride = {2, 2}, .pad = {3, 3}}},
          {{1, 4, 9, 9}, {8, 4, 3, 3}, {.stride = {2, 2}, .pad = {1, 1}}},
          {{2, 16, 7, 7}, {24, 16, 1, 1}},
          {{2, 16, 7, 7}, {32, 16, 3, 3}, {.stride = {2, 2}, .pad = {1, 1}}},
          {{3, 16, 5, 7}, {8, 16, 1, 1}, {.stride = {2, 2}}},
          {{1, 1, 1, 1}, {1, 1, 1, 1}},
          {{1, 5, 1, 1}, {7, 5, 3, 3}, {.pad = {1, 1}}},
          {{2, 10, 8, 11}, {13, 10, 3, 2}, {.stride = {2, 1}, .pad = {1, 0}}},
          {{1, 17, 9, 9}, {19, 17, 3, 3}, {.pad = {2, 2}, .dilation = {2, 2}}},
          {{2, 12, 7, 7}, {18, 4, 3, 3}, {.pad = {1, 1}, .groups = 3}},
          {{2, 3, 7, 7}, {6, 1, 3, 3}, {.pad = {1, 1}, .groups = 3}}};
}

class CudaConvolution : public ::testing::TestWithParam<DType> {
 protected:
  DType dtype() const { return GetParam(); }
  Tensor random(const Shape& shape, std::uint64_t id) const { return random_host(shape, id, dtype()); }

  std::unique_ptr<Kernels> cuda_ = make_cuda_kernels({.tf32 = false});
};
INSTANTIATE_TEST_SUITE_P(EachType, CudaConvolution, ::testing::ValuesIn(kActivationTypes),
                         [](const auto& which) { return std::string(dtype_name(which.param)); });

TEST_P(CudaConvolution, ForwardMatchesTheReferenceWithAndWithoutBias) {
  for (const ConvCase& c : conv_cases())
    for (const bool biased : {false, true}) {
      const Tensor x = random(c.x, 1), w = random(c.w, 2), b = random_host({c.w[0]}, 3);
      const Tensor device_x = on_gpu(x), device_w = on_gpu(w), device_b = on_gpu(b);
      const Tensor y = run_twice(filled(conv2d_shape(c.x, c.w, c.params), 5, dtype()), [&](Tensor& out) {
        cuda_->conv2d_forward(gpu_stream(), device_x, device_w, biased ? ConstView(device_b) : ConstView{}, c.params, out);
      });
      const Tensor size = forward_f64(c, magnitudes(x), magnitudes(w), biased ? magnitudes(b) : Tensor());
      const Tensor plain = forward_f64(c, widened(x), widened(w)), want = biased ? forward_f64(c, widened(x), widened(w), widened(b)) : plain;
      Tensor bound = stored_bound(sum_bound(size, forward_length(c) + 1), plain, dtype());
      if (biased) bound = stored_bound(bound, want, dtype());  // the bias is added to what was stored
      expect_within("forward " + name_of(c), y, want, bound);
    }
}

TEST_P(CudaConvolution, DataGradientMatchesTheReferenceAndAccumulates) {
  for (const ConvCase& c : conv_cases())
    for (const GradMode mode : kModes) {
      const Tensor start = random(c.x, 1), w = random(c.w, 2), dy = random(conv2d_shape(c.x, c.w, c.params), 3);
      const Tensor device_w = on_gpu(w), device_dy = on_gpu(dy);
      const Tensor dx =
          run_twice(start, [&](Tensor& out) { cuda_->conv2d_backward_data(gpu_stream(), device_dy, device_w, c.params, out, mode); });
      const bool add = mode == GradMode::kAccumulate;  // within the sum: still one rounding
      const Tensor product = data_f64(c, widened(dy), widened(w)), size = data_f64(c, magnitudes(dy), magnitudes(w));
      const Tensor want = add ? sum_of(product, start) : product, all = add ? sum_of(size, magnitudes(start)) : size;
      const Tensor bound = stored_bound(sum_bound(all, data_length(c) + 1), want, dtype());
      expect_within("data gradient " + name_of(c), dx, want, bound);
    }
}

TEST_P(CudaConvolution, FilterGradientIsF32AndAccumulates) {
  for (const ConvCase& c : conv_cases())
    for (const GradMode mode : kModes)
      for (const Place place : kPlaces) {  // gradients are views into buckets
        const Tensor x = random(c.x, 1), start = random_host(c.w, 2), dy = random(conv2d_shape(c.x, c.w, c.params), 3);
        const Tensor device_x = on_gpu(x), device_dy = on_gpu(dy);
        const Tensor dw = run_twice(
            start, [&](Tensor& out) { cuda_->conv2d_backward_filter(gpu_stream(), device_x, device_dy, c.params, out, mode); }, place);
        const Tensor product = filter_f64(c, widened(x), widened(dy)), size = filter_f64(c, magnitudes(x), magnitudes(dy));
        Tensor bound = stored_bound(sum_bound(size, filter_length(c)), product, dtype()), want = product;
        if (mode == GradMode::kAccumulate) {
          want = sum_of(product, start);
          bound = stored_bound(bound, want, DType::kF32);
        }
        expect_within("filter gradient " + name_of(c), dw, want, bound);
      }
}

TEST_P(CudaConvolution, WarmCallsTakeNoMemoryFromTheSystem) {
  const ConvCase c{{2, 3, 9, 9}, {8, 3, 3, 3}, {.pad = {1, 1}}};
  const Tensor x = on_gpu(random(c.x, 1)), w = on_gpu(random(c.w, 2)), dy = on_gpu(random(conv2d_shape(c.x, c.w, c.params), 3));
  Tensor y = empty_on_gpu(dy.shape(), dtype()), dx = empty_on_gpu(c.x, dtype()), dw = empty_on_gpu(c.w, DType::kF32);
  const auto step = [&] {
    cuda_->conv2d_forward(gpu_stream(), x, w, {}, c.params, y);
    cuda_->conv2d_backward_data(gpu_stream(), dy, w, c.params, dx, GradMode::kAccumulate);
    cuda_->conv2d_backward_filter(gpu_stream(), x, dy, c.params, dw, GradMode::kAccumulate);
  };
  step();
  const auto before = pool_of(gpu()).stats().system_allocations;
  step();
  EXPECT_EQ(pool_of(gpu()).stats().system_allocations, before);
}

TEST_P(CudaConvolution, RecordedWorkGivesTheSameBitsWhenReplayed) {
  const ConvCase c{{2, 3, 9, 9}, {8, 3, 3, 3}, {.pad = {1, 1}}};
  const Tensor x = on_gpu(random(c.x, 1)), w = on_gpu(random(c.w, 2));
  Tensor y = empty_on_gpu(conv2d_shape(c.x, c.w, c.params), dtype()), again = on_gpu(filled(y.shape(), 7, dtype()));
  const std::unique_ptr<MemoryPool> pool = test_accelerator().make_pool();
  const Stream stream = gpu_stream();
  std::unique_ptr<RecordedWork> work;
  {
    const PoolScope scope(*pool);
    cuda_->conv2d_forward(stream, x, w, {}, c.params, again);  // takes what the recording will
    cuda_->conv2d_forward(stream, x, w, {}, c.params, y);
    copy_contents(filled(y.shape(), 7, dtype()), again);
    test_accelerator().begin_recording(stream);
    cuda_->conv2d_forward(stream, x, w, {}, c.params, again);
    work = test_accelerator().end_recording(stream);
  }
  EXPECT_FALSE(same_bits(to_host(again), to_host(y))) << "recording ran the work";
  test_accelerator().replay(stream, *work);
  EXPECT_TRUE(same_bits(to_host(again), to_host(y)));
}

TEST(CudaConvolutionChoice, Tf32RoundsTheOperandsOnlyWhereItIsAllowed) {
  const ConvCase c{{2, 32, 9, 9}, {32, 32, 3, 3}, {.pad = {1, 1}}};
  const Tensor x = random_host(c.x, 1), w = random_host(c.w, 2), device_x = on_gpu(x), device_w = on_gpu(w);
  const auto run = [&](bool tf32) {
    const std::unique_ptr<Kernels> cuda = make_cuda_kernels({.tf32 = tf32});
    return run_twice(filled(conv2d_shape(c.x, c.w, c.params), 5),
                     [&](Tensor& out) { cuda->conv2d_forward(gpu_stream(), device_x, device_w, {}, c.params, out); });
  };
  const Tensor want = forward_f64(c, widened(x), widened(w)), size = forward_f64(c, magnitudes(x), magnitudes(w));
  const Tensor sums = sum_bound(size, forward_length(c));
  expect_within("f32", run(false), want, sums);
  // Two operands of 11 significant bits, cut off or rounded: 2^-10 each at most.
  expect_within("tf32", run(true), want, sum_of(sums, map_f64(size, [](double m) { return m * 2.001 * 0x1p-10; })));
  EXPECT_FALSE(same_bits(run(false), run(true)));
}

TEST(CudaConvolutionChoice, F64IsRefusedByName) {
  const std::unique_ptr<Kernels> cuda = make_cuda_kernels({});
  const Tensor x = empty_on_gpu({1, 8, 3, 3}, DType::kF64), w = empty_on_gpu({8, 8, 1, 1}, DType::kF64);
  Tensor y = empty_on_gpu({1, 8, 3, 3}, DType::kF64);
  const std::string message = message_of<EnvironmentError>([&] { cuda->conv2d_forward(gpu_stream(), x, w, {}, {}, y); });
  EXPECT_NE(message.find("a convolution in f64"), std::string::npos) << message;
}

TEST(CudaConvolutionChoice, ChoicesNameEachProblemAndAreTakenAgain) {
  const Tensor x = on_gpu(random_host({1, 8, 3, 3}, 1)), w = on_gpu(random_host({8, 8, 1, 1}, 2));
  Tensor y = empty_on_gpu({1, 8, 3, 3}, DType::kF32);
  const auto convolve = [&](Kernels& cuda) { cuda.conv2d_forward(gpu_stream(), x, w, {}, {}, y); };
  const std::unique_ptr<Kernels> first = make_cuda_kernels({});
  EXPECT_TRUE(first->choices().empty());
  convolve(*first);
  const std::map<std::string, std::string> choices = first->choices();
  ASSERT_EQ(choices.size(), 1u);
  EXPECT_EQ(choices.begin()->first, "forward f32 tf32 x1,8,3,3 w8,8,1,1 s1,1 p0,0 d1,1 g1");
  const std::unique_ptr<Kernels> second = make_cuda_kernels({});
  second->use_choices(choices);
  convolve(*second);
  EXPECT_EQ(second->choices(), choices);
  // An engine that isn't there is not replaced by another one.
  const std::unique_ptr<Kernels> third = make_cuda_kernels({});
  third->use_choices({{choices.begin()->first, "eng99999_k2=7"}});
  const std::string message = message_of<EnvironmentError>([&] { convolve(*third); });
  EXPECT_NE(message.find(choices.begin()->first), std::string::npos) << message;
}

}  // namespace
}  // namespace lockstep
