// SimdKernels: the table of our own vector kernels, one table per instruction set (simd_avx512.cpp, simd_avx2.cpp,
// simd_baseline.cpp compile the same .inl files). Raw pointers and plain structs only, so that no inline function of a
// shared header is ever compiled with flags that the machine may lack.
// Per-channel tables have a `period`: a multiple of C (whole pixels) and of 16, so that vectors run over pixel borders.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace lockstep::simd {

// y = (x - mean) * scale + beta [+ residual] [relu]; mean, scale, beta: `period` floats, repeated over n elements.
struct NormApply {
  const float *x, *mean, *scale, *beta, *residual;  // residual may be null
  float* y;
  std::uint8_t* mask;  // may be null; needs relu
  std::int64_t n, period;
  bool relu;
};

// sum_g[j] = sum g, sum_gd[j] = sum g * (x - mean) over the elements at offset j of each period; set, not added.
struct NormSums {
  const float* dy;
  const std::uint8_t* mask;  // may be null: g = dy
  const float *x, *mean;
  std::int64_t n, period;
  double *sum_g, *sum_gd;  // `period` each
  float* scratch;          // 2 * period
};

// dx (+)= a * g - b - (x - mean) * c, dresidual (+)= g.
struct NormBackward {
  const float* dy;
  const std::uint8_t* mask;  // may be null
  const float *x, *mean, *a, *b, *c;
  float *dx, *dresidual;  // dresidual may be null
  std::int64_t n, period;
  bool dx_accumulate, dresidual_accumulate;
};

// Images: x (n, h, w, c) -> y (n, p, q, c); kernel, stride, pad as (rows, columns).
struct Pool {
  std::int64_t h, w, c, p, q;
  int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
  bool count_include_pad;
};

struct Sgd {
  float momentum, grad_scale, weight_decay, lr;
  bool nesterov;
};

// `count` elements from src[row * src_stride] to dst[row * dst_stride], for `rows` rows.
struct CopyRows {
  const float* src;
  float* dst;
  std::int64_t rows, count, src_stride, dst_stride;
  bool accumulate;
};

struct Softmax {
  const float* logits;         // (n, k)
  const std::int32_t* labels;  // (n), -1: not counted
  std::int64_t n, k;
  double smoothing, grad_scale;  // grad_scale: 1 / counted samples
  float* dlogits;                // may be null
  double* losses;                // (n); 0 where not counted
  std::int32_t* better;          // (n): classes that beat the label's; INT32_MAX if its logit is NaN or it is not counted
};

struct Dropout {
  const float* x;
  float* y;
  std::int64_t begin, end;       // elements; begin is a multiple of 64
  std::uint32_t counter[3];      // words 1..3 of the Philox counter; word 0 is the block index
  std::uint32_t key[2];
  std::uint32_t threshold;       // kept when (word >> 8) >= threshold
  float scale;
  bool accumulate;
};

struct SimdKernels {
  const char* isa;
  // --- columns: x is (rows, width); results are double and set, not added ---
  void (*column_sums)(const float* x, std::int64_t rows, std::int64_t width, double* sums, float* scratch /* width */);
  void (*column_moments)(const float* x, std::int64_t rows, std::int64_t width, double* mean, double* m2,
                         float* scratch /* 3 * width */);
  void (*norm_apply)(const NormApply&);
  void (*norm_sums)(const NormSums&);
  void (*norm_backward)(const NormBackward&);
  // --- elementwise over n elements ---
  void (*relu)(const float* x, float* y, std::int64_t n);
  void (*relu_backward)(const float* dy, const float* y, float* dx, std::int64_t n, bool accumulate);
  void (*add)(const float* a, const float* b, float* y, std::int64_t n);
  void (*scale)(const float* x, float factor, float* y, std::int64_t n, bool accumulate);
  void (*dropout)(const Dropout&);
  void (*normalise)(const std::uint8_t* x, const float* scale, const float* shift, float* y, std::int64_t n,
                    std::int64_t period);
  void (*copy_rows)(const CopyRows&);
  // --- pooling: rows [begin, end) of all (n * p) output rows, or all (n * h) input rows in the backward passes ---
  void (*max_pool)(const Pool&, const float* x, float* y, std::uint8_t* indices, std::int64_t begin, std::int64_t end);
  void (*max_pool_backward)(const Pool&, const float* dy, const std::uint8_t* indices, float* dx, std::int64_t begin,
                            std::int64_t end, bool accumulate);
  void (*avg_pool)(const Pool&, const float* x, float* y, std::int64_t begin, std::int64_t end);
  void (*avg_pool_backward)(const Pool&, const float* dy, float* dx, std::int64_t begin, std::int64_t end, bool accumulate);
  // row r of dst (rows, width) (+)= factor * src (width)
  void (*spread_row)(const float* src, float factor, float* dst, std::int64_t rows, std::int64_t width, bool accumulate);
  // --- loss and optimizer ---
  void (*softmax)(const Softmax&);
  void (*sgd)(const Sgd&, float* value, const float* grad, float* momentum, std::int64_t n);
  double (*squared_sum)(const float* x, std::int64_t n);
  void (*blend)(const float* observed, float keep, float take, float* value, std::int64_t n);  // keep * value + take * observed
};

}  // namespace lockstep::simd
