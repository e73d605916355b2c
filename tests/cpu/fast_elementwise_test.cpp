// Elementwise kernels, dropout, channel copies and image normalisation of the fast backend.
// SPDX-License-Identifier: Apache-2.0
#include "tests/cpu/fast_test_util.h"

namespace lockstep {
namespace {

class FastElementwise : public FastBackend {};
INSTANTIATE_TEST_SUITE_P(EachSimd, FastElementwise, ::testing::ValuesIn(available_simd().begin(), available_simd().end()), simd_name);

// Below, at and above vector widths and chunk sizes.
std::vector<Shape> sizes() { return {{1}, {7}, {8}, {16}, {37}, {2, 3, 5, 7}, {200001}}; }
constexpr GradMode kModes[] = {GradMode::kOverwrite, GradMode::kAccumulate};

TEST_P(FastElementwise, Relu) {
  for (const Shape& shape : sizes()) {
    Tensor x = random_tensor(shape, 1);
    x.host<float>()[0] = std::nanf("");
    Tensor want = widened(x), in_place = x.clone();
    const Tensor y = run(filled(shape, 3), [&](Kernels& k, Tensor& out) { k.relu_forward(kStream, x, out); });
    reference_->relu_forward(kStream, widened(x), want);
    expect_close("relu", y, want, want, 0);
    fast_->relu_forward(kStream, in_place, in_place);
    EXPECT_TRUE(same_bits(y, in_place));
  }
}

TEST_P(FastElementwise, ReluBackward) {
  for (const Shape& shape : sizes())
    for (const GradMode mode : kModes) {
      const Tensor dy = random_tensor(shape, 1), y = random_tensor(shape, 2), start = random_tensor(shape, 3);
      const Tensor dx = run(start, [&](Kernels& k, Tensor& out) { k.relu_backward(kStream, dy, y, out, mode); });
      Tensor want = widened(start);
      reference_->relu_backward(kStream, widened(dy), widened(y), want, mode);
      expect_close("relu backward", dx, want, want, 0);
      if (mode == GradMode::kAccumulate) continue;
      Tensor over = dy.clone();
      fast_->relu_backward(kStream, over, y, over, mode);
      EXPECT_TRUE(same_bits(dx, over));
    }
}

TEST_P(FastElementwise, AddScaleAccumulate) {
  for (const Shape& shape : sizes()) {
    const Tensor a = random_tensor(shape, 1), b = random_tensor(shape, 2), factor = filled({}, -1.7f);
    Tensor want = widened(a), over = a.clone();
    const Tensor sum = run(filled(shape, 3), [&](Kernels& k, Tensor& out) { k.add(kStream, a, b, out); });
    reference_->add(kStream, widened(a), widened(b), want);
    expect_close("add", sum, want, want, 0);
    fast_->add(kStream, over, b, over);
    EXPECT_TRUE(same_bits(sum, over));
    for (const GradMode mode : kModes) {
      Tensor scaled64 = widened(a), copied64 = widened(a), size = magnitudes(a), b_size = magnitudes(b);
      const Tensor scaled = run(a, [&](Kernels& k, Tensor& out) { k.scale(kStream, b, factor, out, mode); });
      const Tensor copied = run(a, [&](Kernels& k, Tensor& out) { k.accumulate(kStream, b, out, mode); });
      reference_->scale(kStream, widened(b), widened(factor), scaled64, mode);
      reference_->accumulate(kStream, widened(b), copied64, mode);
      reference_->scale(kStream, b_size, magnitudes(factor), size, mode);
      expect_close("scale", scaled, scaled64, size, 1);
      expect_close("accumulate", copied, copied64, copied64, 0);
    }
  }
}

TEST_P(FastElementwise, DropoutKeepsExactlyWhatTheReferenceKeeps) {
  for (const Shape& shape : sizes())
    for (const double p : {0.0, 0.1, 0.5, 0.999})
      for (const GradMode mode : kModes) {
        const RandomKey key{.seed = 0x123456789abcdefull, .purpose = RandomPurpose::kDropout, .a = 77, .b = 0x500000003ull};
        const Tensor x = random_tensor(shape, 1, 1, 2), start = filled(shape, 0.25f);
        const Tensor y = run(start, [&](Kernels& k, Tensor& out) { k.dropout(kStream, x, p, key, out, mode); });
        Tensor want = widened(start);
        reference_->dropout(kStream, widened(x), p, key, want, mode);
        expect_close("dropout", y, want, want, 3);
      }
}

TEST_P(FastElementwise, CopyChannels) {
  struct Case {
    std::int64_t src_channels, src_begin, dst_channels, dst_begin, count;
  };
  for (const auto& [from, src_begin, to, dst_begin, count] :
       {Case{1, 0, 1, 0, 1}, Case{16, 0, 48, 16, 16}, Case{35, 3, 20, 1, 19}, Case{64, 0, 100, 36, 64}})
    for (const GradMode mode : kModes) {
      const Tensor src = random_tensor({2, from, 3, 5}, 1), start = random_tensor({2, to, 3, 5}, 2);
      const Tensor dst = run(start, [&, f = src_begin, t = dst_begin, n = count](Kernels& k, Tensor& out) {
        k.copy_channels(kStream, src, f, out, t, n, mode);
      });
      Tensor want = widened(start);
      reference_->copy_channels(kStream, widened(src), src_begin, want, dst_begin, count, mode);
      expect_close("copy_channels", dst, want, want, 0);
    }
}

TEST_P(FastElementwise, NormaliseImage) {
  for (const Shape& shape : {Shape{3, 1, 28, 28}, Shape{2, 3, 33, 7}, Shape{1, 3, 1, 1}, Shape{2, 20, 4, 4}}) {
    Tensor x = Tensor::empty(shape, DType::kU8);
    RandomStream random({.seed = 5});
    for (auto& byte : x.host<std::uint8_t>()) byte = static_cast<std::uint8_t>(random.bits());
    std::vector<float> mean, inv_std;
    for (int c = 0; c < shape[1]; ++c) mean.push_back(random.uniform()), inv_std.push_back(random.uniform(1, 5));
    const Tensor y = run(filled(shape, 2), [&](Kernels& k, Tensor& out) { k.normalise_image(kStream, x, mean, inv_std, out); });
    Tensor want = widened(y), size = widened(y);
    reference_->normalise_image(kStream, x, mean, inv_std, want);
    for (std::size_t i = 0; i < size.host<double>().size(); ++i) {
      const std::size_t c = i % mean.size();
      size.host<double>()[i] = (x.host<std::uint8_t>()[i] / 255.0 + mean[c]) * inv_std[c];
    }
    expect_close("normalise " + shape.str(), y, want, size, 3);
  }
}

}  // namespace
}  // namespace lockstep
