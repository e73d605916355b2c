// Linear layers on the device against the f64 reference: all precisions, f32 logits beside 16-bit operands, odd sizes, both gradient modes.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/linear.h"

#include "cpu/reference/reference_kernels.h"
#include "tests/cuda/host_tensors.h"

namespace lockstep {
namespace {

using namespace host_tensors;

struct LinearCase {
  std::int64_t n, in, out;
  DType dtype, output;
  bool tf32 = true;
  std::string str() const {
    return std::to_string(n) + "x" + std::to_string(in) + "x" + std::to_string(out) + " " + std::string(dtype_name(dtype)) + " -> " +
           std::string(dtype_name(output));
  }
};

std::vector<LinearCase> cases() {
  std::vector<LinearCase> all;
  struct Size {
    std::int64_t n, in, out;
  };
  for (const auto& [n, in, out] : {Size{1, 1, 1}, Size{3, 7, 5}, Size{4, 64, 10}, Size{16, 72, 1000}, Size{5, 33, 17}})
    for (const DType dtype : kActivationTypes) {
      all.push_back({n, in, out, dtype, dtype});
      if (dtype == DType::kF32) all.push_back({n, in, out, dtype, dtype, false});
      if (dtype != DType::kF32) all.push_back({n, in, out, dtype, DType::kF32});
    }
  return all;
}

class CudaLinear : public ::testing::Test {
 protected:
  cuda::Linear linear(bool tf32) {
    const CudaOptions options{.device = gpu().index, .tf32 = tf32};
    return {cuda::make_matmul_engine(options, test_accelerator()), options};
  }
  // got against want; f32 operands lose all but 10 bits of their mantissas (2^-11 of each of two) where TF32 is allowed.
  void expect_product(const LinearCase& c, const char* call, const Tensor& got, const Tensor& want, const Tensor& size, std::int64_t length,
                      bool f32_operands) {
    const double lost = c.tf32 && f32_operands ? 0x1p-10 + 0x1p-22 : 0;
    for (std::size_t i = 0; i < size_of(got); ++i) {
      const double w = want.host<double>()[i], magnitude = size.host<double>()[i];
      const double bound = result_bound(got.dtype(), length + 1, magnitude, w) + lost * magnitude;
      ASSERT_TRUE(within(value_of(got, i), w, bound)) << call << " " << c.str() << ": element " << i << ": got " << value_of(got, i) << ", want " << w
                                                      << ", bound " << bound;
    }
  }
  const std::unique_ptr<Kernels> reference_ = make_reference_kernels();
  const Stream stream_ = gpu_stream();
};

TEST_F(CudaLinear, Forward) {
  for (const LinearCase& c : cases())
    for (const bool with_bias : {false, true}) {
      cuda::Linear layer = linear(c.tf32);
      const Tensor x = random_host({c.n, c.in}, 1, c.dtype), w = random_host({c.out, c.in}, 2, c.dtype);
      const Tensor bias = with_bias ? random_host({c.out}, 3) : Tensor();
      const Tensor gx = on_gpu(x), gw = on_gpu(w), gb = on_gpu(bias);
      const Tensor y = run_twice(filled({c.n, c.out}, 7, c.output), [&](Tensor& out) { layer.forward(stream_, gx, gw, gb, out); });
      Tensor want = widened(y), size = widened(y);
      reference_->linear_forward({}, widened(x), widened(w), with_bias ? widened(bias) : Tensor(), want);
      reference_->linear_forward({}, magnitudes(x), magnitudes(w), with_bias ? magnitudes(bias) : Tensor(), size);
      expect_product(c, "forward", y, want, size, c.in + 1, c.dtype == DType::kF32);
    }
}

TEST_F(CudaLinear, BackwardData) {
  for (const LinearCase& c : cases())
    for (const GradMode mode : kModes) {
      cuda::Linear layer = linear(c.tf32);
      const Tensor dy = random_host({c.n, c.out}, 1, c.output), w = random_host({c.out, c.in}, 2, c.dtype);
      const Tensor start = random_host({c.n, c.in}, 3, c.dtype);
      const Tensor gdy = on_gpu(dy), gw = on_gpu(w);
      const Tensor dx = run_twice(start, [&](Tensor& out) { layer.backward_data(stream_, gdy, gw, out, mode); });
      Tensor want = widened(start), size = magnitudes(start);
      reference_->linear_backward_data({}, widened(dy), widened(w), want, mode);
      reference_->linear_backward_data({}, magnitudes(dy), magnitudes(w), size, mode);
      expect_product(c, "backward data", dx, want, size, c.out + 1, c.output == DType::kF32);
    }
}

TEST_F(CudaLinear, BackwardWeightIsF32) {
  for (const LinearCase& c : cases())
    for (const GradMode mode : kModes)
      for (const Place place : kPlaces) {  // gradients lie in buckets, anywhere
        cuda::Linear layer = linear(c.tf32);
        const Tensor dy = random_host({c.n, c.out}, 1, c.output), x = random_host({c.n, c.in}, 2, c.dtype), start = random_host({c.out, c.in}, 3);
        const Tensor gdy = on_gpu(dy), gx = on_gpu(x);
        const Tensor dw = run_twice(start, [&](Tensor& out) { layer.backward_weight(stream_, gx, gdy, out, mode); }, place);
        Tensor want = widened(start), size = magnitudes(start);
        reference_->linear_backward_weight({}, widened(x), widened(dy), want, mode);
        reference_->linear_backward_weight({}, magnitudes(x), magnitudes(dy), size, mode);
        expect_product(c, "backward weight", dw, want, size, c.n + 1, c.output == DType::kF32);
      }
}

// What f16 can't hold in dy must reach the gradients of a classifier: 1e-6 / 256 would be 0.
TEST_F(CudaLinear, SmallLogitGradientsAreNotLost) {
  cuda::Linear layer = linear(true);
  const Tensor x = on_gpu(filled({2, 8}, 1, DType::kF16)), dy = on_gpu(filled({2, 4}, 1e-9));
  Tensor dw = on_gpu(filled({4, 8}, 0));
  layer.backward_weight(stream_, x, dy, dw, GradMode::kOverwrite);
  EXPECT_TRUE(within(value_of(to_host(dw), 0), 2e-9, 2e-9 * 0x1p-10));
}

// Rounded once, the sum of a product and its bias is not the sum with the rounded product.
TEST_F(CudaLinear, ABiasIsAddedBeforeRounding) {
  cuda::Linear layer = linear(true);
  const Tensor x = on_gpu(filled({1, 2}, 1, DType::kBF16)), bias = on_gpu(filled({1}, 0x1p-8));
  Tensor w = filled({1, 2}, 1, DType::kBF16), y = empty_on_gpu({1, 1}, DType::kBF16);
  set_value(w, 1, 0x1p-8);  // the product, 1 + 2^-8, is a tie and would become 1
  const Tensor weight = on_gpu(w);
  layer.forward(stream_, x, weight, bias, y);
  EXPECT_EQ(value_of(to_host(y), 0), 1 + 0x1p-7);
}

TEST_F(CudaLinear, AnEmptyBatchGivesZeroGradients) {
  cuda::Linear layer = linear(true);
  const Tensor x = empty_on_gpu({0, 3}, DType::kF32), dy = empty_on_gpu({0, 2}, DType::kF32), w = on_gpu(filled({2, 3}, 1));
  Tensor y = empty_on_gpu({0, 2}, DType::kF32), dx = empty_on_gpu({0, 3}, DType::kF32), dw = on_gpu(filled({2, 3}, 5));
  layer.forward(stream_, x, w, {}, y);
  layer.backward_data(stream_, dy, w, dx, GradMode::kOverwrite);
  layer.backward_weight(stream_, x, dy, dw, GradMode::kAccumulate);
  EXPECT_EQ(value_of(to_host(dw), 5), 5);
  layer.backward_weight(stream_, x, dy, dw, GradMode::kOverwrite);
  EXPECT_EQ(value_of(to_host(dw), 5), 0);
}

}  // namespace
}  // namespace lockstep
