// Winograd of bf16 images and filters: all between is f32, so the results are the f32 ones of the widened tensors, rounded once.
// SPDX-License-Identifier: Apache-2.0
#include "cpu/fast/winograd.h"
#include "tests/cpu/winograd_cases.h"

namespace lockstep {
namespace {

class WinogradBf16EachSimd : public ::testing::TestWithParam<std::string_view> {
 protected:
  WinogradBf16EachSimd() : setting_(GetParam()), simd_(select_simd_kernels()), fast_(make_fast_kernels(1)) {}

  SimdSetting setting_;
  const simd::SimdKernels& simd_;
  std::unique_ptr<Kernels> fast_;
};
INSTANTIATE_TEST_SUITE_P(EachSimd, WinogradBf16EachSimd, ::testing::ValuesIn(available_simd().begin(), available_simd().end()), simd_name);

using Word = simd::bf16_word;
const Word* words(const Tensor& tensor) { return reinterpret_cast<const Word*>(tensor.host<bf16>().data()); }
Word* words(Tensor& tensor) { return reinterpret_cast<Word*>(tensor.host<bf16>().data()); }
Tensor random_words(const Shape& shape, std::uint64_t id) { return random_tensor(shape, id, -1, 1, DType::kBF16); }

Tensor as_f32(const Tensor& tensor) {
  Tensor result = Tensor::empty(tensor.shape(), DType::kF32);
  for (std::size_t i = 0; i < result.host<float>().size(); ++i) result.host<float>()[i] = static_cast<float>(tensor.host<bf16>()[i]);
  return result;
}
Tensor as_bf16(const Tensor& tensor) {
  Tensor result = Tensor::empty(tensor.shape(), DType::kBF16);
  for (std::size_t i = 0; i < result.host<bf16>().size(); ++i) result.host<bf16>()[i] = bf16(tensor.host<float>()[i]);
  return result;
}

TEST_P(WinogradBf16EachSimd, Bf16IsF32RoundedOnce) {
  const Winograd winograd(simd_, 1);
  for (const WinogradCase& a : winograd_cases()) {
    const Tensor x = random_words(a.x, 1), w = random_words(a.w, 2), dy = random_words(a.y(), 3), bias = random_tensor({a.w[0]}, 4);
    Tensor y = random_words(a.y(), 5), wide_y = as_f32(y);
    winograd.forward(a.problem(ConvPass::kForward), words(x), {}, words(w), data(bias), words(y));
    winograd.forward(a.problem(ConvPass::kForward), data(as_f32(x)), {}, data(as_f32(w)), data(bias), data(wide_y));
    EXPECT_TRUE(same_bits(y, as_bf16(wide_y))) << "forward " << a.name();
    for (const bool accumulate : {false, true}) {
      Tensor dx = random_words(a.x, 6), wide_dx = as_f32(dx), dw = random_tensor(a.w, 7), wide_dw = dw.clone();
      winograd.backward_data(a.problem(ConvPass::kBackwardData), words(dy), words(w), words(dx), accumulate);
      winograd.backward_data(a.problem(ConvPass::kBackwardData), data(as_f32(dy)), data(as_f32(w)), data(wide_dx), accumulate);
      EXPECT_TRUE(same_bits(dx, as_bf16(wide_dx))) << "data " << a.name();
      winograd.backward_filter(a.problem(ConvPass::kBackwardFilter), words(x), {}, words(dy), data(dw), accumulate);
      winograd.backward_filter(a.problem(ConvPass::kBackwardFilter), data(as_f32(x)), {}, data(as_f32(dy)), data(wide_dw), accumulate);
      EXPECT_TRUE(same_bits(dw, wide_dw)) << "filter " << a.name();
    }
  }
}

TEST_P(WinogradBf16EachSimd, Bf16NormWhileReadingIsNormBeforehand) {
  const Winograd winograd(simd_, 1);
  for (const WinogradCase& a : winograd_cases()) {
    const Tensor x = random_words(a.x, 1), w = random_words(a.w, 2), dy = random_words(a.y(), 3);
    const Shape c{a.x[1]};
    const Tensor mean = random_tensor(c, 4), inv_std = random_tensor(c, 5, 0.5f, 2), gamma = random_tensor(c, 6);
    const Tensor beta = random_tensor(c, 7, 0.1f, 1);
    const ConvNorm norm{data(mean), data(inv_std), data(gamma), data(beta)};
    Tensor normalised = Tensor::empty(a.x, DType::kBF16);
    fast_->batch_norm_apply(kStream, x, {mean, inv_std, gamma, beta}, {}, true, normalised, {});
    Tensor want = random_words(a.y(), 8), got = want.clone(), want_dw = random_tensor(a.w, 9), got_dw = want_dw.clone();
    winograd.forward(a.problem(ConvPass::kForward), words(normalised), {}, words(w), nullptr, words(want));
    winograd.forward(a.problem(ConvPass::kForward), words(x), norm, words(w), nullptr, words(got));
    EXPECT_TRUE(same_bits(got, want)) << "forward " << a.name();
    winograd.backward_filter(a.problem(ConvPass::kBackwardFilter), words(normalised), {}, words(dy), data(want_dw), false);
    winograd.backward_filter(a.problem(ConvPass::kBackwardFilter), words(x), norm, words(dy), data(got_dw), false);
    EXPECT_TRUE(same_bits(got_dw, want_dw)) << "filter " << a.name();
  }
}

}  // namespace
}  // namespace lockstep
