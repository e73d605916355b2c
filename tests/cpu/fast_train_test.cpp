// Loss, optimizer, norms and running statistics of the fast backend; the instruction sets' switch.
// SPDX-License-Identifier: Apache-2.0
#include "core/mix_row.h"
#include "tests/cpu/fast_test_util.h"

namespace lockstep {
namespace {

class FastTrain : public FastBackend {};
INSTANTIATE_TEST_SUITE_P(EachSimd, FastTrain, ::testing::ValuesIn(available_simd().begin(), available_simd().end()), simd_name);

struct LossCase {
  LossCase(std::int64_t n, std::int64_t k, float spread)
      : logits(random_tensor({n, k}, 1, -spread, spread)), labels(Tensor::empty({n}, DType::kI32)) {
    RandomStream random({.seed = 9});
    for (auto& label : labels.host<std::int32_t>()) label = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(k)));
    if (n > 2) labels.host<std::int32_t>()[1] = -1;
  }
  Tensor logits, labels;
};

// Against the f64 reference; the tolerance is the unmixed loss's (below), of which it is a mean.
TEST_P(FastTrain, MixedSoftmaxCrossEntropy) {
  for (const auto& [n, k] : std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 2}, {64, 10}, {5, 17}, {16, 1000}}) {
    const LossCase in(n, k, 1);
    Tensor mix = Tensor::zeros({n, kMixRowWords}, DType::kI32), none = mix.clone();
    RandomStream random({.seed = 11});
    for (std::int64_t i = 0; i < n; ++i) {
      const auto other = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(k)));
      static_cast<MixRow*>(mix.ptr())[i] = {.label = other, .weight = random.uniform()};
      static_cast<MixRow*>(none.ptr())[i] = {.label = std::max(0, in.labels.host<std::int32_t>()[static_cast<std::size_t>(i)])};
    }
    Tensor loss = filled({}, 0), sums = Tensor::zeros({4}, DType::kF64);
    const auto dlogits_of = [&](const Tensor& rows) {
      return run(filled({n, k}, 3), [&](Kernels& kernels, Tensor& out) {
        kernels.softmax_cross_entropy(kStream, in.logits, in.labels, rows, 0.1, loss, out, sums);
      });
    };
    const Tensor dlogits = dlogits_of(mix);
    Tensor loss64 = widened(loss), want = widened(dlogits), sums64 = sums.clone();
    reference_->softmax_cross_entropy(kStream, widened(in.logits), in.labels, mix, 0.1, loss64, want, sums64);
    const double g = 1 / sums64.host<double>()[3];
    expect_close("dlogits", dlogits, want, map_f64(want, [g](double d) { return std::fabs(d) + 2 * g; }), 14);
    expect_close("loss", loss, loss64, map_f64(loss, [k = k](double) { return 3 + std::log(static_cast<double>(k)); }), 12);
    EXPECT_TRUE(same_bits(dlogits_of(none), dlogits_of(Tensor()))) << "rows of weight 1 change no bit";
    EXPECT_FALSE(same_bits(dlogits, dlogits_of(none)));
  }
}

TEST_P(FastTrain, SoftmaxCrossEntropy) {
  for (const auto& [n, k] : std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 1}, {1, 2}, {64, 10}, {5, 17}, {16, 1000}})
    for (const double smoothing : {0.0, 0.1})
      for (const float spread : {1.0f, 60.0f}) {
        const LossCase in(n, k, spread);
        Tensor loss = filled({}, 0), sums = Tensor::zeros({4}, DType::kF64);
        const Tensor dlogits = run(filled({n, k}, 3), [&](Kernels& kernels, Tensor& out) {
          kernels.softmax_cross_entropy(kStream, in.logits, in.labels, {}, smoothing, loss, out, sums);
        });
        Tensor loss64 = widened(loss), want = widened(dlogits), sums64 = sums.clone();
        reference_->softmax_cross_entropy(kStream, widened(in.logits), in.labels, {}, smoothing, loss64, want, sums64);
        // d = g (p - t), g = 1 / counted: some ten roundings, and z - top rounds to |z - top| u, which is a relative error of
        // e^(z - top). Powers below the smallest normal number are 0.
        const double counted = sums64.host<double>()[3], g = 1 / counted;
        Tensor size = want.clone();
        for (std::size_t i = 0; i < size.host<double>().size(); ++i) {
          const auto row = i / static_cast<std::size_t>(k), column = i % static_cast<std::size_t>(k);
          const std::int32_t label = in.labels.host<std::int32_t>()[row];
          const bool own = label >= 0 && static_cast<std::size_t>(label) == column;
          const double target = g * (smoothing / static_cast<double>(k) + (own ? 1 - smoothing : 0));
          size.host<double>()[i] = std::fabs(want.host<double>()[i] + target) + target + 0x1p-126 / dtype_epsilon(DType::kF32);
        }
        expect_close("dlogits", dlogits, want, size, 10 + static_cast<std::int64_t>(2 * spread));
        const double loss_size = 2 * spread + std::log(static_cast<double>(k)) + 1;
        expect_close("loss", loss, loss64, map_f64(loss, [&](double) { return loss_size; }), 10);
        EXPECT_TRUE(within(sums.host<double>()[0], sums64.host<double>()[0], counted * error_bound(DType::kF32, 10, loss_size)));
        for (const std::size_t i : {1u, 2u, 3u})
          EXPECT_EQ(sums.host<double>()[i], sums64.host<double>()[i]) << "n " << n << " k " << k << " sum " << i;
      }
}

TEST_P(FastTrain, EqualLogitsRankByIndex) {
  Tensor logits = filled({8, 8}, 0.5f), labels = Tensor::empty({8}, DType::kI32), loss = filled({}, 0),
         sums = Tensor::zeros({4}, DType::kF64);
  for (std::int32_t i = 0; i < 8; ++i) labels.host<std::int32_t>()[static_cast<std::size_t>(i)] = i % 3;
  fast_->softmax_cross_entropy(kStream, logits, labels, {}, 0, loss, {}, sums);
  EXPECT_EQ(sums.host<double>()[1], 3);  // label 0
  EXPECT_EQ(sums.host<double>()[2], 8);
}

TEST_P(FastTrain, LossOfTiesNaNAndNothing) {
  LossCase in(4, 20, 1);
  for (float& z : in.logits.host<float>()) z = std::round(z * 2);  // many ties
  Tensor loss = filled({}, 0), sums = Tensor::zeros({4}, DType::kF64), loss64 = widened(loss), sums64 = sums.clone();
  const auto both = [&] {
    fast_->softmax_cross_entropy(kStream, in.logits, in.labels, {}, 0, loss, {}, sums);
    reference_->softmax_cross_entropy(kStream, widened(in.logits), in.labels, {}, 0, loss64, {}, sums64);
    EXPECT_EQ(sums.host<double>()[1], sums64.host<double>()[1]);
    EXPECT_EQ(sums.host<double>()[2], sums64.host<double>()[2]);
  };
  both();
  in.logits.host<float>()[static_cast<std::size_t>(in.labels.host<std::int32_t>()[0])] = std::nanf("");
  both();
  EXPECT_TRUE(std::isnan(loss.host<float>()[0]) && std::isnan(sums.host<double>()[0]));
  for (auto& label : in.labels.host<std::int32_t>()) label = -1;
  both();
  EXPECT_EQ(loss.host<float>()[0], 0.0f);
}

TEST_P(FastTrain, LossIsNaNWhereverTheNaNIs) {
  for (const std::int64_t k : {3, 10, 16, 40})
    for (std::int64_t at = 0; at < k; ++at) {
      LossCase in(1, k, 1);
      in.logits.host<float>()[static_cast<std::size_t>(at)] = std::nanf("");
      Tensor loss = filled({}, 0), sums = Tensor::zeros({4}, DType::kF64);
      fast_->softmax_cross_entropy(kStream, in.logits, in.labels, {}, 0, loss, {}, sums);
      EXPECT_TRUE(std::isnan(loss.host<float>()[0])) << k << " classes, NaN at " << at;
    }
}

struct SgdCase {
  explicit SgdCase(const Shape& shape)
      : value(random_tensor(shape, 1)), momentum(random_tensor(shape, 2)), grad(random_tensor(shape, 3)),
        compute(filled(shape, 7, DType::kBF16)), value64(widened(value)), momentum64(widened(momentum)), grad64(widened(grad)) {}
  Tensor value, momentum, grad, compute, value64, momentum64, grad64;
};

TEST_P(FastTrain, SgdStep) {
  for (const bool nesterov : {false, true})
    for (const bool with_copy : {false, true}) {
      std::vector<SgdCase> cases;
      for (const Shape& shape : {Shape{1}, Shape{16}, Shape{17, 3}, Shape{64, 3, 7, 7}, Shape{70000}}) cases.emplace_back(shape);
      std::vector<SgdTensor> work, work64;
      for (std::size_t i = 0; i < cases.size(); ++i) {
        SgdCase& c = cases[i];
        const double decay = 1e-4 * static_cast<double>(i), lr = 0.1 + 0.1 * static_cast<double>(i);
        work.push_back({c.value, c.momentum, with_copy ? View(c.compute) : View{}, c.grad, decay, lr});
        work64.push_back({c.value64, c.momentum64, {}, c.grad64, decay, lr});
      }
      const SgdParams params{.momentum = 0.9, .nesterov = nesterov, .grad_scale = 0.5};
      fast_->sgd_step(kStream, work, params);
      reference_->sgd_step(kStream, work64, params);
      for (const SgdCase& c : cases) {
        const auto bound = [](const Tensor& t) { return map_f64(t, [](double) { return 4.0; }); };  // |values| <= 1 + lr (2 + ...)
        expect_close("momentum", c.momentum, c.momentum64, bound(c.momentum), 6);
        expect_close("value", c.value, c.value64, bound(c.value), 8);
        for (std::size_t i = 0; i < c.value.host<float>().size(); ++i)
          ASSERT_EQ(c.compute.host<bf16>()[i].bits, bf16(with_copy ? c.value.host<float>()[i] : 7.0f).bits) << i;
      }
    }
}

// The bits of value and momentum do not depend on who else is written, and an f16 copy is made too.
TEST_P(FastTrain, SgdCopiesChangeNothingElse) {
  SgdCase plain({1234}), copied({1234}), half({1234});
  Tensor f16_copy = Tensor::empty({1234}, DType::kF16);
  const SgdTensor work[] = {{plain.value, plain.momentum, {}, plain.grad, 1e-4, 0.1},
                            {copied.value, copied.momentum, copied.compute, copied.grad, 1e-4, 0.1},
                            {half.value, half.momentum, f16_copy, half.grad, 1e-4, 0.1}};
  fast_->sgd_step(kStream, work, {});
  for (const SgdCase* c : {&copied, &half})
    EXPECT_TRUE(same_bits(plain.value, c->value) && same_bits(plain.momentum, c->momentum));
  for (std::size_t i = 0; i < 1234; ++i) ASSERT_EQ(f16_copy.host<f16>()[i].bits, f16(half.value.host<float>()[i]).bits);
}

TEST_P(FastTrain, SquaredNormInDouble) {
  const Tensor a = random_tensor({70001}, 1, -3, 3), b = random_tensor({5}, 2), c = widened(random_tensor({33}, 3));
  const std::vector<ConstView> all{a, b, c};
  const Tensor got = run(Tensor::zeros({1}, DType::kF64), [&](Kernels& k, Tensor& out) { k.squared_norm(kStream, all, out); });
  const Tensor a64 = widened(a), b64 = widened(b);
  Tensor want = Tensor::zeros({1}, DType::kF64);
  reference_->squared_norm(kStream, std::vector<ConstView>{a64, b64, c}, want);
  const double sum = want.host<double>()[0];
  EXPECT_TRUE(within(got.host<double>()[0], sum, 2 * error_bound(DType::kF64, 70039, sum))) << got.host<double>()[0] << " " << sum;
  for (const std::size_t at : {0u, 40u, 70000u}) {
    Tensor bad = a.clone();
    bad.host<float>()[at] = INFINITY;
    Tensor result = Tensor::zeros({1}, DType::kF64);
    fast_->squared_norm(kStream, std::vector<ConstView>{bad}, result);
    EXPECT_FALSE(std::isfinite(result.host<double>()[0])) << at;
  }
}

TEST_P(FastTrain, MovingAverage) {
  for (const Shape& shape : {Shape{1}, Shape{37}}) {
    const Tensor observed = random_tensor(shape, 1), start = random_tensor(shape, 2);
    const Tensor value = run(start, [&](Kernels& k, Tensor& out) { k.moving_average(kStream, observed, 0.1, out); });
    Tensor want = widened(start);
    reference_->moving_average(kStream, widened(observed), 0.1, want);
    expect_close("moving average", value, want, map_f64(value, [](double) { return 1.0; }), 3);
  }
}

TEST_P(FastTrain, StatisticsInSixteenBitsThrowByName) {
  Tensor logits = filled({2, 3}, 0, DType::kBF16), labels = Tensor::zeros({2}, DType::kI32), loss = filled({}, 0),
         sums = Tensor::zeros({4}, DType::kF64);
  try {
    fast_->softmax_cross_entropy(kStream, logits, labels, {}, 0, loss, {}, sums);
    FAIL() << "no error";
  } catch (const EnvironmentError& error) {
    EXPECT_NE(std::string(error.what()).find("softmax_cross_entropy can't take bf16; use f32"), std::string::npos) << error.what();
  }
}

TEST(SimdSwitch, NamesATableOrFailsClearly) {
  for (const std::string_view name : available_simd()) {
    const SimdSetting setting(name);
    EXPECT_EQ(select_simd_kernels().isa, name);
  }
  EXPECT_EQ(available_simd().back(), "scalar");
  const SimdSetting setting("avx1024");
  try {
    select_simd_kernels();
    FAIL() << "no error";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("avx1024"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("scalar, avx2 or avx512"), std::string::npos);
  }
}

}  // namespace
}  // namespace lockstep
