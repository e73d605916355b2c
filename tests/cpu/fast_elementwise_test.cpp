// Elementwise kernels, dropout, channel copies and image normalisation of the fast backend, f32 and bf16,
// against the f64 reference; conversions; the same bits from every instruction set.
// SPDX-License-Identifier: Apache-2.0
#include <bit>

#include "core/mix_row.h"
#include "tests/cpu/fast_test_util.h"

namespace lockstep {
namespace {

class FastElementwise : public FastBackend {};
INSTANTIATE_TEST_SUITE_P(EachSimd, FastElementwise, ::testing::ValuesIn(available_simd().begin(), available_simd().end()), simd_name);

// Below, at and above vector widths and chunk sizes.
struct Case {
  Shape shape;
  DType dtype;
  Tensor random(std::uint64_t id) const { return random_tensor(shape, id, -1, 1, dtype); }
};
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Shape& shape : {Shape{1}, Shape{7}, Shape{8}, Shape{16}, Shape{37}, Shape{2, 3, 5, 7}, Shape{200001}})
    for (const DType dtype : kActivationTypes) all.push_back({shape, dtype});
  return all;
}
constexpr GradMode kModes[] = {GradMode::kOverwrite, GradMode::kAccumulate};

TEST_P(FastElementwise, Relu) {
  for (const Case& c : cases()) {
    Tensor x = c.random(1);
    set_value(x, 0, std::nanf(""));
    Tensor want = widened(x), in_place = x.clone();
    const Tensor y = run(c.random(3), [&](Kernels& k, Tensor& out) { k.relu_forward(kStream, x, out); });
    reference_->relu_forward(kStream, widened(x), want);
    expect_close("relu", y, want, want, 0);
    fast_->relu_forward(kStream, in_place, in_place);
    EXPECT_TRUE(same_bits(y, in_place));
  }
}

TEST_P(FastElementwise, ReluBackward) {
  for (const Case& c : cases())
    for (const GradMode mode : kModes) {
      const Tensor dy = c.random(1), y = c.random(2), start = c.random(3);
      const Tensor dx = run(start, [&](Kernels& k, Tensor& out) { k.relu_backward(kStream, dy, y, out, mode); });
      Tensor want = widened(start);
      reference_->relu_backward(kStream, widened(dy), widened(y), want, mode);
      expect_close("relu backward", dx, want, want, 1);
      if (mode == GradMode::kAccumulate) continue;
      Tensor over = dy.clone();
      fast_->relu_backward(kStream, over, y, over, mode);
      EXPECT_TRUE(same_bits(dx, over));
    }
}

TEST_P(FastElementwise, AddScaleAccumulate) {
  for (const Case& c : cases()) {
    const Tensor a = c.random(1), b = c.random(2), factor = filled({}, -1.7f);
    Tensor want = widened(a), over = a.clone();
    const Tensor sum = run(c.random(3), [&](Kernels& k, Tensor& out) { k.add(kStream, a, b, out); });
    reference_->add(kStream, widened(a), widened(b), want);
    expect_close("add", sum, want, want, 1);
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
      expect_close("accumulate", copied, copied64, copied64, 1);
    }
  }
}

TEST_P(FastElementwise, DropoutKeepsExactlyWhatTheReferenceKeeps) {
  for (const Case& c : cases())
    for (const double p : {0.0, 0.1, 0.5, 0.999})
      for (const GradMode mode : kModes) {
        const RandomKey key{.seed = 0x123456789abcdefull, .purpose = RandomPurpose::kDropout, .a = 77, .b = 0x500000003ull};
        const Tensor x = random_tensor(c.shape, 1, 1, 2, c.dtype), start = filled(c.shape, 0.25f, c.dtype);
        const Tensor y = run(start, [&](Kernels& k, Tensor& out) { k.dropout(kStream, x, p, key, out, mode); });
        Tensor want = widened(start);
        reference_->dropout(kStream, widened(x), p, key, want, mode);
        expect_close("dropout", y, want, want, 3);
      }
}

TEST_P(FastElementwise, CopyChannels) {
  struct Channels {
    std::int64_t src_channels, src_begin, dst_channels, dst_begin, count;
  };
  for (const auto& [from, src_begin, to, dst_begin, count] :
       {Channels{1, 0, 1, 0, 1}, Channels{16, 0, 48, 16, 16}, Channels{35, 3, 20, 1, 19}, Channels{64, 0, 100, 36, 64}})
    for (const auto& [mode, dtype] : {std::pair{kModes[0], DType::kF32},
                                      {kModes[1], DType::kF32},
                                      {kModes[0], DType::kBF16},
                                      {kModes[1], DType::kBF16}}) {
      const Tensor src = random_tensor({2, from, 3, 5}, 1, -1, 1, dtype), start = random_tensor({2, to, 3, 5}, 2, -1, 1, dtype);
      const Tensor dst = run(start, [&, f = src_begin, t = dst_begin, n = count, m = mode](Kernels& k, Tensor& out) {
        k.copy_channels(kStream, src, f, out, t, n, m);
      });
      Tensor want = widened(start);
      reference_->copy_channels(kStream, widened(src), src_begin, want, dst_begin, count, mode);
      expect_close("copy_channels", dst, want, want, 1);
    }
}

TEST_P(FastElementwise, MixImages) {
  for (const DType dtype : kActivationTypes)
    for (const Shape& shape : {Shape{3, 1, 28, 28}, Shape{5, 3, 33, 7}, Shape{1, 3, 1, 1}, Shape{4, 3, 16, 16}}) {
      const Tensor x = random_tensor(shape, 1, -2, 2, dtype);
      Tensor mix = Tensor::zeros({shape[0], kMixRowWords}, DType::kI32);
      auto* rows = static_cast<MixRow*>(mix.ptr());
      const auto h = static_cast<std::int32_t>(shape[2]), w = static_cast<std::int32_t>(shape[3]);
      for (std::int32_t i = 0; i < shape[0]; ++i) {  // mixup, CutMix, unmixed
        rows[i] = {.partner = static_cast<std::int32_t>(shape[0]) - 1 - i, .weight = i % 3 == 2 ? 1.0f : 0.3f};
        if (i % 3 == 1) rows[i].top = h / 3, rows[i].left = w / 2, rows[i].height = h - h / 3, rows[i].width = 1;
      }
      const Tensor y = run(filled(shape, 2, dtype), [&](Kernels& k, Tensor& out) { k.mix_images(kStream, x, mix, out); });
      Tensor want = widened(y);
      reference_->mix_images(kStream, widened(x), mix, want);
      expect_close("mixed " + shape.str(), y, want, map_f64(y, [](double) { return 2.0; }), 2);
    }
}

TEST_P(FastElementwise, NormaliseImage) {
  for (const DType dtype : kActivationTypes)
    for (const Shape& shape : {Shape{3, 1, 28, 28}, Shape{2, 3, 33, 7}, Shape{1, 3, 1, 1}, Shape{2, 20, 4, 4}}) {
      Tensor x = Tensor::empty(shape, DType::kU8);
      RandomStream random({.seed = 5});
      for (auto& byte : x.host<std::uint8_t>()) byte = static_cast<std::uint8_t>(random.bits());
      std::vector<float> mean, inv_std;
      for (int c = 0; c < shape[1]; ++c) mean.push_back(random.uniform()), inv_std.push_back(random.uniform(1, 5));
      const Tensor y = run(filled(shape, 2, dtype), [&](Kernels& k, Tensor& out) { k.normalise_image(kStream, x, mean, inv_std, out); });
      Tensor want = widened(y), size = widened(y);
      reference_->normalise_image(kStream, x, mean, inv_std, want);
      for (std::size_t i = 0; i < size.host<double>().size(); ++i) {
        const std::size_t c = i % mean.size();
        size.host<double>()[i] = (x.host<std::uint8_t>()[i] / 255.0 + mean[c]) * inv_std[c];
      }
      expect_close("normalise " + shape.str(), y, want, size, 3);
    }
}

// All 2^16 upper halves with lower halves around the tie, NaN and infinities among them.
TEST_P(FastElementwise, ConversionsAreThoseOfTheDtype) {
  Tensor x = Tensor::empty({65536, 5}, DType::kF32);
  for (std::uint32_t i = 0; i < 65536 * 5; ++i) {
    constexpr std::uint32_t kLow[] = {0, 0x7fff, 0x8000, 0x8001, 0xffff};
    x.host<float>()[i] = std::bit_cast<float>((i / 5) << 16 | kLow[i % 5]);
  }
  const Tensor y = run(filled(x.shape(), 1, DType::kBF16), [&](Kernels& k, Tensor& out) { k.convert(kStream, x, out); });
  const Tensor back = run(filled(x.shape(), 1), [&](Kernels& k, Tensor& out) { k.convert(kStream, y, out); });
  for (std::size_t i = 0; i < 65536 * 5; ++i) {
    ASSERT_EQ(y.host<bf16>()[i].bits, bf16(x.host<float>()[i]).bits) << std::hex << std::bit_cast<std::uint32_t>(x.host<float>()[i]);
    ASSERT_EQ(std::bit_cast<std::uint32_t>(back.host<float>()[i]), std::uint32_t{y.host<bf16>()[i].bits} << 16);
  }
}

TEST_P(FastElementwise, ConversionsOfOddSizesAndOtherDtypes) {
  for (const std::int64_t n : {1, 7, 16, 37, 70001}) {
    const Tensor x = random_tensor({n}, 1), x64 = widened(x);
    Tensor narrow = filled({n}, 0, DType::kBF16), wide = filled({n}, 0), half = Tensor::empty({n}, DType::kF16), from64 = narrow.clone();
    fast_->convert(kStream, x, narrow);
    fast_->convert(kStream, narrow, wide);
    fast_->convert(kStream, x, half);
    fast_->convert(kStream, x64, from64);
    EXPECT_TRUE(same_bits(narrow, from64));
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
      ASSERT_EQ(wide.host<float>()[i], static_cast<float>(bf16(x.host<float>()[i])));
      ASSERT_EQ(half.host<f16>()[i].bits, f16(x.host<float>()[i]).bits);
    }
  }
}

// Without products there is nothing that fma could change: every instruction set gives these bits, in both dtypes.
TEST(FastInstructionSets, ElementwiseBitsAreTheSame) {
  for (const DType dtype : kActivationTypes) {
    const Tensor a = random_tensor({10007}, 1, -1, 1, dtype), b = random_tensor({10007}, 2, -1, 1, dtype), factor = filled({}, 1.7f);
    std::vector<Tensor> first;
    for (const std::string_view isa : available_simd()) {
      const SimdSetting setting(isa);
      const auto kernels = make_fast_kernels(1);
      std::vector<Tensor> results;
      const auto keep = [&](const auto& call) {
        Tensor out = b.clone();
        call(out);
        results.push_back(out);
      };
      keep([&](Tensor& y) { kernels->relu_forward(kStream, a, y); });
      keep([&](Tensor& y) { kernels->relu_backward(kStream, a, b, y, GradMode::kOverwrite); });
      keep([&](Tensor& y) { kernels->add(kStream, a, b, y); });
      keep([&](Tensor& y) { kernels->accumulate(kStream, a, y, GradMode::kAccumulate); });
      keep([&](Tensor& y) { kernels->scale(kStream, a, factor, y, GradMode::kOverwrite); });
      keep([&](Tensor& y) { kernels->dropout(kStream, a, 0.5, {.seed = 5}, y, GradMode::kOverwrite); });
      if (first.empty()) first = results;
      for (std::size_t i = 0; i < results.size(); ++i) EXPECT_TRUE(same_bits(first[i], results[i])) << isa << " call " << i;
    }
  }
}

}  // namespace
}  // namespace lockstep
