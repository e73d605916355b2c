// Batch norm backward and bias gradients on the device, in f32, bf16 and f16, against the f64 reference on the same inputs.
// SPDX-License-Identifier: Apache-2.0
#include "tests/cuda/batch_norm_inputs.h"

namespace lockstep {
namespace {

std::pair<Tensor, Tensor> sums_of(Stream stream, const NormInputs& device, const ReluGate& gate) {
  const Tensor start = filled({device.x.shape()[1]}, 7);
  Tensor first = on_gpu(start), second = on_gpu(start), again = on_gpu(start), again_xhat = on_gpu(start);
  cuda::batch_norm_backward_sums(stream, device.dy, gate, device.x, device.norm(), first, second);
  cuda::batch_norm_backward_sums(stream, device.dy, gate, device.x, device.norm(), again, again_xhat);
  std::pair<Tensor, Tensor> result{to_host(first), to_host(second)};
  EXPECT_TRUE(same_bits(result.first, to_host(again)) && same_bits(result.second, to_host(again_xhat))) << "two calls differ";
  return result;
}

void check_sums(Stream stream, Kernels& reference, const Shape& shape, DType dtype, Place place, bool masked) {
  const NormInputs in(shape, dtype), device = in.device(place), wide = in.widened();
  const auto gate = [masked](const NormInputs& of) { return masked ? ReluGate::from_bits(of.mask) : ReluGate::none(); };
  const auto [sum, sum_xhat] = sums_of(stream, device, gate(device));
  Tensor want = widened(sum), want_xhat = widened(sum), size = Tensor::zeros(sum.shape(), DType::kF64), size_xhat = size.clone();
  reference.batch_norm_backward_sums({}, wide.dy, gate(wide), wide.x, wide.norm(), want, want_xhat);
  for (std::size_t i = 0; i < size_of(in.x); ++i) {
    const std::size_t c = channel(shape, i);
    size.host<double>()[c] += std::fabs(in.g(i, masked));
    size_xhat.host<double>()[c] += std::fabs(in.g(i, masked) * in.centred(i)) * in.at(in.inv_std, i);
  }
  // A thread's additions, a block's and the result's rounding; of a product, two more.
  expect_close("sum_g " + shape.str(), sum, want, size, thread_rows(shape, place) + 2);
  expect_close("sum_g_xhat " + shape.str(), sum_xhat, want_xhat, size_xhat, thread_rows(shape, place) + 4);
}

TEST_F(CudaBatchNorm, BackwardSums) {
  for (const Shape& shape : norm_shapes())
    for (const DType dtype : kActivationTypes)
      for (const Place place : kPlaces)
        for (const bool masked : {false, true}) check_sums(stream_, *reference_, shape, dtype, place, masked);
}

TEST_F(CudaBatchNorm, BackwardSumsOfManyBlocks) {
  for (const Shape& shape : {Shape{2, 64, 56, 56}, Shape{1, 256, 28, 28}, Shape{1, 3, 200, 201}})
    check_sums(stream_, *reference_, shape, DType::kBF16, Place::kAligned, true);
}

// What the gate stops is not multiplied by 0: it may be anything.
TEST_F(CudaBatchNorm, ClosedGatesHideWhatIsNotFinite) {
  for (const Place place : kPlaces) {
    NormInputs in({2, 16, 5, 5}, DType::kF16);
    for (auto& byte : in.mask.host<std::uint8_t>()) byte = 0xff;
    in.mask.host<std::uint8_t>()[3] = 0xfe;
    set_value(in.dy, 24, NAN);
    set_value(in.x, 24, INFINITY);
    const NormInputs device = in.device(place);
    const auto [sum, sum_xhat] = sums_of(stream_, device, ReluGate::from_bits(device.mask));
    for (std::size_t c = 0; c < 16; ++c) EXPECT_TRUE(std::isfinite(value_of(sum, c)) && std::isfinite(value_of(sum_xhat, c))) << c;
    const auto [open, open_xhat] = sums_of(stream_, device, ReluGate::none());
    EXPECT_TRUE(std::isnan(value_of(open, 8)) && std::isnan(value_of(open_xhat, 8)));
  }
}

// All arguments of batch_norm_backward_apply, so that one function calls either backend.
struct ApplyCase {
  double count;
  bool masked;
  GradMode dx_mode, dresidual_mode;  // kSkip: no residual

  ReluGate gate(const NormInputs& in) const { return masked ? ReluGate::from_bits(in.mask) : ReluGate::none(); }
  View residual(Tensor& dresidual) const { return dresidual_mode == GradMode::kSkip ? View{} : View(dresidual); }
  double size(const NormInputs& in, std::size_t i) const {
    const double inverse = in.at(in.inv_std, i), xhat = in.centred(i) * inverse;
    if (std::isinf(count)) return std::fabs(in.at(in.gamma, i) * inverse * value_of(in.dy, i));
    return std::fabs(in.at(in.gamma, i) * inverse) *
           (std::fabs(value_of(in.dy, i)) + std::fabs(in.at(in.sum_g, i) / count) + std::fabs(xhat * in.at(in.sum_g_xhat, i) / count));
  }
};

void check_backward_apply(Stream stream, Kernels& reference, const NormInputs& in, Place place, const ApplyCase& test) {
  const NormInputs device = in.device(place), wide = in.widened();
  const Shape& shape = in.x.shape();
  const Tensor start = random_host(shape, 10, in.x.dtype());
  Tensor on_device = on_gpu_at(start, place);
  const Tensor dx = run_twice(
      start,
      [&](Tensor& out) {
        on_device = on_gpu_at(start, place);
        cuda::batch_norm_backward_apply(stream, device.dy, test.gate(device), device.x, device.norm(), device.sum_g, device.sum_g_xhat,
                                        test.count, out, test.dx_mode, test.residual(on_device), test.dresidual_mode);
      },
      place);
  Tensor want = widened(start), want_residual = widened(start), size = widened(start), residual_size = widened(start);
  reference.batch_norm_backward_apply({}, wide.dy, test.gate(wide), wide.x, wide.norm(), wide.sum_g, wide.sum_g_xhat, test.count, want,
                                      test.dx_mode, test.residual(want_residual), test.dresidual_mode);
  for (std::size_t i = 0; i < size_of(start); ++i) {
    const double before = std::fabs(value_of(start, i));
    size.host<double>()[i] = test.size(in, i) + (test.dx_mode == GradMode::kAccumulate ? before : 0);
    residual_size.host<double>()[i] = std::fabs(value_of(in.dy, i)) + before;
  }
  expect_close("dx " + shape.str(), dx, want, size, 9);
  expect_close("dresidual " + shape.str(), to_host(on_device), want_residual, residual_size, 1);
}

TEST_F(CudaBatchNorm, BackwardApplyInAllModes) {
  const GradMode over = GradMode::kOverwrite, on = GradMode::kAccumulate, skip = GradMode::kSkip;
  const std::pair<GradMode, GradMode> modes[] = {{over, skip}, {on, over}, {over, on}, {on, on}};
  for (const Shape& shape : norm_shapes())
    for (const DType dtype : kActivationTypes) {
      const NormInputs in(shape, dtype);
      for (const Place place : kPlaces)
        for (const double count : {static_cast<double>(per_channel(shape)), static_cast<double>(INFINITY)})
          for (const auto& [dx_mode, dresidual_mode] : modes)
            check_backward_apply(stream_, *reference_, in, place, {count, dx_mode == over, dx_mode, dresidual_mode});
    }
}

// In evaluation the sums and xhat play no part, whatever they are.
TEST_F(CudaBatchNorm, EvaluationIgnoresTheSums) {
  NormInputs in({2, 16, 3, 3}, DType::kBF16);
  in.sum_g = in.sum_g_xhat = filled({16}, NAN);
  set_value(in.x, 5, INFINITY);
  for (const Place place : kPlaces)
    check_backward_apply(stream_, *reference_, in, place, {INFINITY, false, GradMode::kOverwrite, GradMode::kSkip});
}

// The gate recomputed from x is the mask that the forward pass of the same x writes, to the bit, and not another.
TEST_F(CudaBatchNorm, RecomputedGateGivesTheBitsOfTheMask) {
  for (const Shape& shape : norm_shapes())
    for (const DType dtype : kActivationTypes)
      for (const Place place : kPlaces) {
        const NormInputs in(shape, dtype), device = in.device(place);
        Tensor y = on_gpu_at(in.x, place), mask = on_gpu(in.mask), results[3][3];
        cuda::batch_norm_apply(stream_, device.x, device.norm(), {}, true, y, mask);
        const ReluGate gates[] = {ReluGate::from_bits(mask), ReluGate::recompute(), ReluGate::none()};
        for (const int gate : {0, 1, 2}) {
          Tensor dx = on_gpu_at(in.x, place);
          cuda::batch_norm_backward_apply(stream_, device.dy, gates[gate], device.x, device.norm(), device.sum_g, device.sum_g_xhat, 9, dx,
                                          GradMode::kOverwrite, {}, GradMode::kSkip);
          std::tie(results[gate][0], results[gate][1]) = sums_of(stream_, device, gates[gate]);
          results[gate][2] = to_host(dx);
        }
        for (const int part : {0, 1, 2}) EXPECT_TRUE(same_bits(results[0][part], results[1][part])) << shape.str() << " " << part;
        EXPECT_TRUE(shape.numel() < 100 || !same_bits(results[0][2], results[2][2])) << "the control is equal too: " << shape.str();
      }
}

TEST_F(CudaBatchNorm, BackwardApplyMayWriteOverItsGradient) {
  for (const DType dtype : kActivationTypes)
    for (const Shape& shape : {Shape{3, 24, 7, 7}, Shape{2, 5, 7, 3}}) {
      const NormInputs in(shape, dtype), device = in.device(Place::kAligned);
      Tensor dx = on_gpu(in.x), dresidual = on_gpu(in.x), over = on_gpu(in.dy), dresidual_in_place = on_gpu(in.x);
      const auto apply = [&](const Tensor& dy, Tensor& to, Tensor& residual) {
        cuda::batch_norm_backward_apply(stream_, dy, ReluGate::from_bits(device.mask), device.x, device.norm(), device.sum_g,
                                        device.sum_g_xhat, 147, to, GradMode::kOverwrite, residual, GradMode::kOverwrite);
      };
      apply(device.dy, dx, dresidual);
      apply(over, over, dresidual_in_place);
      EXPECT_TRUE(same_bits(to_host(dx), to_host(over)) && same_bits(to_host(dresidual), to_host(dresidual_in_place)));
    }
}

TEST_F(CudaBatchNorm, BiasGradientOfImagesAndRows) {
  std::vector<Shape> shapes = norm_shapes();
  for (const Shape& rows : {Shape{1, 1}, Shape{64, 10}, Shape{100, 1000}, Shape{33, 64}, Shape{2, 64, 56, 56}}) shapes.push_back(rows);
  for (const Shape& shape : shapes)
    for (const DType dtype : kActivationTypes)
      for (const Place place : kPlaces)
        for (const GradMode mode : kModes) {
          const Tensor dy = random_host(shape, 1, dtype), start = random_host({shape[1]}, 2), input = on_gpu_at(dy, place);
          const Tensor db = run_twice(start, [&](Tensor& out) { cuda::bias_backward(stream_, input, out, mode); });
          Tensor want = widened(start), size = magnitudes(start);
          reference_->bias_backward({}, widened(dy), want, mode);
          reference_->bias_backward({}, magnitudes(dy), size, mode);
          const Shape image = shape.rank() == 4 ? shape : Shape{shape[0], shape[1], 1, 1};
          expect_close("db " + shape.str(), db, want, size, thread_rows(image, place) + 2);
        }
}

TEST_F(CudaBatchNorm, OtherTypesThrowByName) {
  Tensor x = empty_on_gpu({1, 8, 2, 2}, DType::kF64), stats = empty_on_gpu({8}, DType::kF32);
  const std::string message = message_of<EnvironmentError>([&] { cuda::batch_norm_moments(stream_, x, stats, stats); });
  EXPECT_NE(message.find("batch_norm_moments in f64"), std::string::npos) << message;
  EXPECT_NE(message.find("f32, bf16 and f16"), std::string::npos) << message;
}

}  // namespace
}  // namespace lockstep
