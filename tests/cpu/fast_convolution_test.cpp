// Convolution and linear of the fast backend against the f64 reference.
// SPDX-License-Identifier: Apache-2.0
#include "cpu/fast/dnnl_adapter.h"
#include "ops/conv2d.h"
#include "tests/cpu/fast_test_util.h"

namespace lockstep {
namespace {

struct ConvCase {
  Shape x, w;
  Conv2dParams params = {};
};

// Stems of 1 and 3 channels, the layers of small and large ResNets, and the odd: size 1, channels off any vector width,
// unequal strides and pads, dilation, groups, depthwise.
std::vector<ConvCase> conv_cases() {
  return {{{2, 1, 28, 28}, {16, 1, 3, 3}, {.pad = {1, 1}}},
          {{2, 3, 32, 32}, {16, 3, 3, 3}, {.pad = {1, 1}}},
          {{1, 3, 45, 45}, {64, 3, 7, 7}, {.stride = {2, 2}, .pad = {3, 3}}},
          {{3, 16, 9, 9}, {16, 16, 3, 3}, {.pad = {1, 1}}},
          {{3, 16, 9, 9}, {32, 16, 3, 3}, {.stride = {2, 2}, .pad = {1, 1}}},
          {{3, 16, 9, 9}, {32, 16, 1, 1}, {.stride = {2, 2}}},
          {{2, 64, 7, 7}, {256, 64, 1, 1}},
          {{1, 1024, 3, 3}, {512, 1024, 1, 1}},  // runs as a matrix product
          {{1, 1, 1, 1}, {1, 1, 1, 1}},
          {{1, 5, 1, 1}, {7, 5, 3, 3}, {.pad = {1, 1}}},
          {{2, 10, 8, 11}, {13, 10, 3, 2}, {.stride = {2, 1}, .pad = {1, 0}}},
          {{2, 17, 12, 12}, {33, 17, 3, 3}, {.pad = {2, 2}, .dilation = {2, 2}}},
          {{1, 8, 15, 9}, {24, 8, 5, 3}, {.stride = {3, 2}, .pad = {2, 1}, .dilation = {1, 2}}},
          {{2, 12, 7, 7}, {18, 4, 3, 3}, {.pad = {1, 1}, .groups = 3}},
          {{2, 64, 7, 7}, {64, 16, 3, 3}, {.pad = {1, 1}, .groups = 4}},
          {{2, 40, 9, 9}, {40, 1, 3, 3}, {.stride = {2, 2}, .pad = {1, 1}, .groups = 40}}};
}

class FastConvolution : public FastBackend {};
// oneDNN picks its own instruction set: one of ours is enough.
INSTANTIATE_TEST_SUITE_P(BestSimd, FastConvolution, ::testing::Values(available_simd().front()), simd_name);

TEST_P(FastConvolution, ForwardWithAndWithoutBias) {
  for (const auto& [x_shape, w_shape, params] : conv_cases())
    for (const bool biased : {false, true}) {
      const Tensor x = random_tensor(x_shape, 1), w = random_tensor(w_shape, 2), b = random_tensor({w_shape[0]}, 3);
      const Shape y_shape = conv2d_shape(x_shape, w_shape, params);
      const Tensor y = run(filled(y_shape, 5), [&](Kernels& k, Tensor& out) {
        k.conv2d_forward(kStream, x, w, biased ? ConstView(b) : ConstView{}, params, out);
      });
      Tensor want = widened(y), size = widened(y);
      reference_->conv2d_forward(kStream, widened(x), widened(w), biased ? ConstView(widened(b)) : ConstView{}, params, want);
      reference_->conv2d_forward(kStream, magnitudes(x), magnitudes(w), biased ? ConstView(magnitudes(b)) : ConstView{}, params, size);
      expect_close("forward " + x_shape.str() + w_shape.str(), y, want, size, w_shape[1] * w_shape[2] * w_shape[3] + 1);
    }
}

TEST_P(FastConvolution, BackwardData) {
  for (const auto& [x_shape, w_shape, params] : conv_cases())
    for (const GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
      const Tensor start = random_tensor(x_shape, 1), w = random_tensor(w_shape, 2);
      const Tensor dy = random_tensor(conv2d_shape(x_shape, w_shape, params), 3);
      const Tensor dx = run(start, [&](Kernels& k, Tensor& out) { k.conv2d_backward_data(kStream, dy, w, params, out, mode); });
      Tensor want = widened(start), size = magnitudes(start);
      reference_->conv2d_backward_data(kStream, widened(dy), widened(w), params, want, mode);
      reference_->conv2d_backward_data(kStream, magnitudes(dy), magnitudes(w), params, size, mode);
      expect_close("data " + x_shape.str() + w_shape.str(), dx, want, size, w_shape[0] / params.groups * w_shape[2] * w_shape[3] + 1);
    }
}

TEST_P(FastConvolution, BackwardFilter) {
  for (const auto& [x_shape, w_shape, params] : conv_cases())
    for (const GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
      const Shape y_shape = conv2d_shape(x_shape, w_shape, params);
      const Tensor x = random_tensor(x_shape, 1), start = random_tensor(w_shape, 2), dy = random_tensor(y_shape, 3);
      const bool any_threads = false;  // oneDNN cuts the batch by threads and adds the parts
      const Tensor dw = run(
          start, [&](Kernels& k, Tensor& out) { k.conv2d_backward_filter(kStream, x, dy, params, out, mode); }, any_threads);
      Tensor want = widened(start), size = magnitudes(start);
      reference_->conv2d_backward_filter(kStream, widened(x), widened(dy), params, want, mode);
      reference_->conv2d_backward_filter(kStream, magnitudes(x), magnitudes(dy), params, size, mode);
      expect_close("filter " + x_shape.str() + w_shape.str(), dw, want, size, y_shape[0] * y_shape[2] * y_shape[3] + 1);
    }
}

TEST_P(FastConvolution, BiasBackward) {
  for (const Shape& shape : {Shape{2, 10, 5, 7}, Shape{1, 1, 1, 1}, Shape{9, 33}, Shape{64, 1000}, Shape{3, 64, 14, 14}})
    for (const GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
      const Tensor dy = random_tensor(shape, 1), start = random_tensor({shape[1]}, 2);
      const Tensor db = run(start, [&](Kernels& k, Tensor& out) { k.bias_backward(kStream, dy, out, mode); });
      Tensor want = widened(start), size = magnitudes(start);
      reference_->bias_backward(kStream, widened(dy), want, mode);
      reference_->bias_backward(kStream, magnitudes(dy), size, mode);
      expect_close("bias " + shape.str(), db, want, size, shape.numel() / shape[1] + 1);
    }
}

struct LinearCase {
  std::int64_t n, in, out;
};
const LinearCase kLinearCases[] = {{1, 1, 1}, {5, 17, 10}, {64, 64, 10}, {16, 512, 250}, {3, 100, 257}};

TEST_P(FastConvolution, LinearForward) {
  for (const auto& [n, in, out] : kLinearCases)
    for (const bool biased : {false, true}) {
      const Tensor x = random_tensor({n, in}, 1), w = random_tensor({out, in}, 2), b = random_tensor({out}, 3);
      const Tensor y = run(filled({n, out}, 5), [&](Kernels& k, Tensor& to) {
        k.linear_forward(kStream, x, w, biased ? ConstView(b) : ConstView{}, to);
      });
      Tensor want = widened(y), size = widened(y);
      reference_->linear_forward(kStream, widened(x), widened(w), biased ? ConstView(widened(b)) : ConstView{}, want);
      reference_->linear_forward(kStream, magnitudes(x), magnitudes(w), biased ? ConstView(magnitudes(b)) : ConstView{}, size);
      expect_close("linear forward", y, want, size, in + 1);
    }
}

TEST_P(FastConvolution, LinearBackward) {
  for (const auto& [n, in, out] : kLinearCases)
    for (const GradMode mode : {GradMode::kOverwrite, GradMode::kAccumulate}) {
      const Tensor x = random_tensor({n, in}, 1), w = random_tensor({out, in}, 2), dy = random_tensor({n, out}, 4);
      const bool any_threads = false;
      const Tensor dx = run(x, [&](Kernels& k, Tensor& to) { k.linear_backward_data(kStream, dy, w, to, mode); }, any_threads);
      const Tensor dw = run(w, [&](Kernels& k, Tensor& to) { k.linear_backward_weight(kStream, x, dy, to, mode); }, any_threads);
      Tensor want_dx = widened(x), dx_size = magnitudes(x), want_dw = widened(w), dw_size = magnitudes(w);
      reference_->linear_backward_data(kStream, widened(dy), widened(w), want_dx, mode);
      reference_->linear_backward_data(kStream, magnitudes(dy), magnitudes(w), dx_size, mode);
      reference_->linear_backward_weight(kStream, widened(x), widened(dy), want_dw, mode);
      reference_->linear_backward_weight(kStream, magnitudes(x), magnitudes(dy), dw_size, mode);
      expect_close("linear data", dx, want_dx, dx_size, out + 1);
      expect_close("linear weight", dw, want_dw, dw_size, n + 1);
    }
}

TEST_P(FastConvolution, DoublePrecisionIsTheReferences) {
  const Tensor x = widened(random_tensor({2, 5, 6, 6}, 1)), w = widened(random_tensor({4, 5, 3, 3}, 2));
  Tensor y = Tensor::zeros({2, 4, 4, 4}, DType::kF64), want = y.clone();
  fast_->conv2d_forward(kStream, x, w, {}, {}, y);
  reference_->conv2d_forward(kStream, x, w, {}, {}, want);
  EXPECT_TRUE(same_bits(y, want));
}

// No layer of the networks that we train may land on oneDNN's plain loops.
TEST(DnnlAdapter, LayersOfOurNetworksHaveRealKernels) {
  DnnlAdapter adapter(1);
  for (ConvProblem layer :
       {ConvProblem{.n = 8, .c = 1, .h = 28, .w = 28, .k = 16, .r = 3, .s = 3, .p = 28, .q = 28, .pad_h = 1, .pad_w = 1},
        ConvProblem{.n = 8, .c = 3, .h = 32, .w = 32, .k = 16, .r = 3, .s = 3, .p = 32, .q = 32, .pad_h = 1, .pad_w = 1},
        ConvProblem{.n = 2,
        .c = 3,
        .h = 224,
        .w = 224,
        .k = 64,
        .r = 7,
        .s = 7,
        .p = 112,
        .q = 112,
        .stride_h = 2,
        .stride_w = 2,
        .pad_h = 3,
        .pad_w = 3},
        ConvProblem{.n = 8, .c = 16, .h = 28, .w = 28, .k = 32, .r = 1, .s = 1, .p = 14, .q = 14, .stride_h = 2, .stride_w = 2},
        ConvProblem{.n = 8, .c = 64, .h = 7, .w = 7, .k = 64, .r = 3, .s = 3, .p = 7, .q = 7, .pad_h = 1, .pad_w = 1},
        ConvProblem{.n = 2, .c = 512, .h = 7, .w = 7, .k = 2048, .p = 7, .q = 7}})
    for (const ConvPass pass : {ConvPass::kForward, ConvPass::kBackwardData, ConvPass::kBackwardFilter}) {
      layer.pass = pass;
      EXPECT_NE(adapter.implementation(layer).substr(0, 3), "ref") << layer.c << " channels, pass " << static_cast<int>(pass);
    }
}

TEST(DnnlAdapter, MakesAPrimitiveOncePerShape) {
  DnnlAdapter adapter(1);
  const ConvProblem problem{.n = 1, .c = 16, .h = 4, .w = 4, .k = 16, .p = 4, .q = 4};
  const Tensor x = random_tensor({1, 16, 4, 4}, 1), w = random_tensor({16, 16, 1, 1}, 2);
  Tensor y = filled({1, 16, 4, 4}, 0);
  for (int i = 0; i < 3; ++i) adapter.convolution(problem, x.host<float>().data(), w.host<float>().data(), nullptr, y.host<float>().data());
  EXPECT_EQ(adapter.primitives_created(), 1u);
}

TEST(DnnlAdapter, AnImpossibleShapeIsAnErrorThatNamesIt) {
  DnnlAdapter adapter(1);
  ConvProblem problem{.n = 1, .c = 16, .h = 4, .w = 4, .k = 16, .p = 9, .q = 9};
  Tensor buffer = filled({4096}, 0);
  float* p = buffer.host<float>().data();
  try {
    adapter.convolution(problem, p, p, nullptr, p);
    FAIL() << "no error";
  } catch (const EnvironmentError& error) {
    EXPECT_NE(std::string(error.what()).find("(1, 16, 4, 4)"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace lockstep
