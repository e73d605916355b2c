// The GEMM of every instruction set: all tails, layouts of A and B, splits, and nothing touched outside C.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/philox.h"
#include "cpu/fast/simd_dispatch.h"
#include "tests/cpu/fast_test_util.h"
#include "tests/tolerance.h"

namespace lockstep {
namespace {

constexpr float kGuard = 12345.0f;

// Operands with room around C: guards must survive.
struct Product {
  Product(std::int64_t rows, std::int64_t columns, std::int64_t depth, bool transposed, std::int64_t b_extra = 0)
      : m(rows), n(columns), k(depth), a_transposed(transposed), b_row(columns + b_extra), c_row(columns + 3),
        a(static_cast<std::size_t>(rows * depth)), b(static_cast<std::size_t>(depth * b_row)),
        c(static_cast<std::size_t>(rows * c_row + 3), kGuard) {
    RandomStream random({.seed = 7, .b = static_cast<std::uint64_t>(m * 1'000'000 + n * 1000 + k)});
    for (float& value : a) value = random.uniform(-1, 1);
    for (float& value : b) value = random.uniform(-1, 1);
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) at(i, j) = random.uniform(-1, 1);
    before = c;
  }
  float& at(std::int64_t i, std::int64_t j) { return c[static_cast<std::size_t>(i * c_row + j)]; }
  simd::Gemm gemm(bool accumulate = false) {
    return {.a = a.data(), .a_row = a_transposed ? 1 : k, .a_col = a_transposed ? m : 1, .b = b.data(), .b_row = b_row,
            .c = c.data(), .c_row = c_row, .m = m, .n = n, .k = k, .accumulate = accumulate};
  }
  float left(std::int64_t i, std::int64_t p) const { return a[static_cast<std::size_t>(a_transposed ? p * m + i : i * k + p)]; }
  float right(std::int64_t p, std::int64_t j) const { return b[static_cast<std::size_t>(p * b_row + j)]; }

  // Elements of C that are further from the f64 sum than its roundings allow.
  std::int64_t wrong_elements(bool accumulate) {
    std::int64_t wrong = 0;
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        double want = accumulate ? before[static_cast<std::size_t>(i * c_row + j)] : 0.0, magnitude = std::fabs(want);
        for (std::int64_t p = 0; p < k; ++p) {
          want += double{left(i, p)} * right(p, j);
          magnitude += std::fabs(double{left(i, p)} * right(p, j));
        }
        wrong += within(at(i, j), want, error_bound(DType::kF32, k + 1, magnitude)) ? 0 : 1;
      }
    return wrong;
  }
  void expect_right(bool accumulate, const char* isa) {
    ASSERT_EQ(wrong_elements(accumulate), 0) << isa << " " << m << "x" << n << "x" << k << (a_transposed ? ", A transposed" : "");
    for (std::size_t i = 0; i < c.size(); ++i) {
      const bool outside = static_cast<std::int64_t>(i) >= m * c_row || static_cast<std::int64_t>(i) % c_row >= n;
      ASSERT_TRUE(!outside || c[i] == kGuard) << isa << " wrote outside C at " << i;
    }
  }

  std::int64_t m, n, k;
  bool a_transposed;
  std::int64_t b_row, c_row;
  std::vector<float> a, b, c, before;
};

class OwnGemm : public ::testing::TestWithParam<std::string_view> {
  SimdSetting setting_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(EachSimd, OwnGemm, ::testing::ValuesIn(available_simd().begin(), available_simd().end()), simd_name);

TEST_P(OwnGemm, AnyShapeIsWithinTheRoundingBound) {
  const simd::SimdKernels& simd = select_simd_kernels();
  for (const std::int64_t m : {1, 2, 3, 4, 5, 6, 9, 10, 13, 197})
    for (const std::int64_t n : {1, 7, 8, 16, 17, 63, 64, 65, 130})
      for (const std::int64_t k : {1, 7, 8, 9, 129, 193, 300, 400})
        for (const bool transposed : {false, true})
          for (const bool accumulate : {false, true}) {
            if (m > 13 && (n < 63 || k < 193)) continue;  // many rows: only where they meet whole panels and blocks
            Product product(m, n, k, transposed, n % 3);
            simd.gemm(product.gemm(accumulate));
            product.expect_right(accumulate, simd.isa);
          }
}

TEST_P(OwnGemm, PackedOperandsGiveTheSameBits) {
  const simd::SimdKernels& simd = select_simd_kernels();
  for (const std::int64_t n : {1, 16, 65, 130})
    for (const std::int64_t k : {1, 17, 300}) {
      Product plain(13, n, k, false);
      simd.gemm(plain.gemm());
      std::vector<float> columns(static_cast<std::size_t>(n * k));
      std::vector<float> packed(static_cast<std::size_t>(simd.packed_size(n, k)), kGuard);
      for (std::int64_t p = 0; p < k; ++p)
        for (std::int64_t j = 0; j < n; ++j) columns[static_cast<std::size_t>(j * k + p)] = plain.right(p, j);
      for (const bool by_columns : {false, true}) {
        std::fill(packed.begin(), packed.end(), kGuard);
        simd.pack(by_columns ? columns.data() : plain.b.data(), by_columns ? 1 : n, by_columns ? k : 1, n, k, packed.data());
        Product product(13, n, k, false);
        simd::Gemm gemm = product.gemm();
        gemm.b = packed.data(), gemm.b_packed = true;
        simd.gemm(gemm);
        EXPECT_EQ(product.c, plain.c) << simd.isa << " n " << n << " k " << k << (by_columns ? " by columns" : " by rows");
      }
    }
}

TEST_P(OwnGemm, SplittingRowsOrColumnsChangesNoBit) {
  const simd::SimdKernels& simd = select_simd_kernels();
  for (const bool transposed : {false, true}) {
    Product whole(211, 150, 333, transposed), parts(211, 150, 333, transposed);
    simd.gemm(whole.gemm());
    for (const auto& [row, rows] : {std::pair<std::int64_t, std::int64_t>{0, 5}, {5, 150}, {155, 56}})
      for (const auto& [column, columns] : {std::pair<std::int64_t, std::int64_t>{0, 33}, {33, 117}}) {
        simd::Gemm gemm = parts.gemm();
        gemm.a += row * gemm.a_row, gemm.b += column, gemm.c += row * gemm.c_row + column;
        gemm.m = rows, gemm.n = columns;
        simd.gemm(gemm);
      }
    EXPECT_EQ(whole.c, parts.c) << simd.isa;
  }
}

TEST_P(OwnGemm, AnEmptySumIsZeroOrLeavesC) {
  const simd::SimdKernels& simd = select_simd_kernels();
  Product product(3, 20, 0, false);
  simd.gemm(product.gemm(true));
  EXPECT_EQ(product.c, product.before);
  simd.gemm(product.gemm());
  product.expect_right(false, simd.isa);
}

TEST_P(OwnGemm, ALostProductWouldShow) {
  const simd::SimdKernels& simd = select_simd_kernels();
  Product product(6, 64, 40, false);
  simd::Gemm gemm = product.gemm();
  gemm.k = 39;
  simd.gemm(gemm);
  EXPECT_GT(product.wrong_elements(false), 6 * 64 / 2);
}

}  // namespace
}  // namespace lockstep
