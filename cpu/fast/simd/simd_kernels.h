// SimdKernels: the table of our own vector kernels, one table per instruction set (simd_avx512.cpp, simd_avx2.cpp,
// simd_baseline.cpp compile the same .inl files). Raw pointers and plain structs only, so that no inline function of a
// shared header is ever compiled with flags that the machine may lack.
// T is the storage type of activations: float, or bf16_word (computed in f32, rounded once).
// Per-channel tables have a `period`: a multiple of C (whole pixels) and of 16 (32 for bf16), so that vectors run over
// pixel borders. Those of NormTables and NormBackward lie in units' order (simd/unit.inl): for bf16, of
// each 2 * lanes elements first the even ones.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/mix_row.h"
#include "cpu/fast/simd/winograd_kernels.h"

namespace lockstep::simd {

using bf16_word = std::uint16_t;

// norm(x) = (x - mean) * scale + beta with scale = inv_std * gamma: `period` floats each, repeated over the elements.
struct NormTables {
  const float *mean, *scale, *beta;
};

// y = norm(x) [+ residual] [relu].
template <class T>
struct NormApply {
  const T *x, *residual;  // residual may be null
  NormTables tables;
  T* y;
  std::uint8_t* mask;  // may be null; needs relu
  std::int64_t n, period;
  bool relu;
};

// What ops/kernels.h calls ReluGate.
enum class Gate : std::uint8_t { kNone, kBits, kRecompute };

// g = dy where the gate is open.
template <class T>
struct NormGradient {
  const T *dy, *x;
  Gate gate;
  const std::uint8_t* mask;  // kBits
  NormTables tables;         // norm_sums: scale and beta for kRecompute only; norm_backward: beta so
  std::int64_t n, period;
};

// sum_g[j] = sum g, sum_gd[j] = sum g * (x - mean) over the elements at offset j of each period; set, not added.
template <class T>
struct NormSums {
  NormGradient<T> in;
  double *sum_g, *sum_gd;  // `period` each, in the elements' order
  float* scratch;          // 2 * period
};

// dx (+)= scale * g - b - (x - mean) * c, dresidual (+)= g.
template <class T>
struct NormBackward {
  NormGradient<T> in;
  const float *b, *c;
  T *dx, *dresidual;  // dresidual may be null
  bool dx_accumulate, dresidual_accumulate;
};

// Images: x (n, h, w, c) -> y (n, p, q, c); kernel, stride, pad as (rows, columns).
struct Pool {
  std::int64_t h, w, c, p, q;
  int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
  bool count_include_pad;
};

// ops/kernels.h's Activation, its settings rounded to the elements' dtype.
struct Activation {
  enum class Kind : std::uint8_t { kLeakyRelu, kTanh, kSigmoid, kThreshold, kClamp };
  Kind kind;
  float a, b;
};

// s_c = k + alpha * sum of x^2 over channels c - before ... c + after; y_c = x_c s_c^-beta. `line`: floats of a line of scratch.
struct ResponseNorm {
  std::int64_t channels, before, after, line;
  float k, alpha, beta;
};

// y = [bias +] x * filter, every channel with its own; `at` has the geometry. Tables hold one number per channel, `width` (a multiple
// of 32) apart and in units' order: filter is kernel_h * kernel_w of them, in the order r, s.
template <class T>
struct Depthwise {
  Pool at;
  std::int64_t width;
  const T* x;
  const float *filter, *bias;  // bias may be null
  T* y;
  bool accumulate;
};

// sums: kernel_h * kernel_w rows of `width` doubles, channels in their own order; set, not added. scratch: as many floats.
template <class T>
struct DepthwiseFilter {
  Pool at;
  std::int64_t width;
  const T *x, *dy;
  double* sums;
  float* scratch;
};

struct Sgd {
  float momentum, grad_scale, weight_decay, lr;
  bool nesterov;
};

// `count` elements from src[row * src_stride] to dst[row * dst_stride], for `rows` rows.
template <class T>
struct CopyRows {
  const T* src;
  T* dst;
  std::int64_t rows, count, src_stride, dst_stride;
  bool accumulate;
};

struct Softmax {
  const float* logits;         // (n, k)
  const std::int32_t* labels;  // (n), -1: not counted
  const MixRow* mix;           // (n), or null: nothing is mixed
  std::int64_t n, k;
  double smoothing, grad_scale;  // grad_scale: 1 / counted samples
  float* dlogits;                // may be null
  double* losses;                // (n); 0 where not counted
  std::int32_t* better;          // (n): classes that beat the label's; INT32_MAX if its logit is NaN or it is not counted
};

template <class T>
struct Dropout {
  const T* x;
  T* y;
  std::int64_t begin, end;       // elements; begin is a multiple of 64
  std::uint32_t counter[3];      // words 1..3 of the Philox counter; word 0 is the block index
  std::uint32_t key[2];
  std::uint32_t threshold;       // kept when (word >> 8) >= threshold
  float scale;
  bool accumulate;
};

// C (m, n) = [C +] A (m, k) B (k, n). Element (i, p) of A is a[i * a_row + p * a_col]; row p of B is b + p * b_row and row i
// of C is c + i * c_row, both contiguous. With b_packed, b is what `pack` wrote for all of B and b_row is not read.
// Each element's sum runs in one order that depends on k alone: splitting m or n changes no bit.
struct Gemm {
  const float* a;
  std::int64_t a_row, a_col;
  const float* b;
  std::int64_t b_row;
  float* c;
  std::int64_t c_row, m, n, k;
  bool accumulate = false;
  bool b_packed = false;
};

// Kernels on activations.
template <class T>
struct TypedKernels {
  // --- columns: x is (rows, width); results are double and set, not added. Padded: to a multiple of 32 ---
  void (*column_sums)(const T* x, std::int64_t rows, std::int64_t width, double* sums, float* scratch /* padded width */);
  void (*column_moments)(const T* x, std::int64_t rows, std::int64_t width, double* mean, double* m2,
                         float* scratch /* 3 * padded width */);
  void (*norm_apply)(const NormApply<T>&);
  void (*norm_sums)(const NormSums<T>&);
  void (*norm_backward)(const NormBackward<T>&);
  // --- elementwise over n elements ---
  void (*relu)(const T* x, T* y, std::int64_t n);
  void (*relu_backward)(const T* dy, const T* y, T* dx, std::int64_t n, bool accumulate);
  void (*add)(const T* a, const T* b, T* y, std::int64_t n);
  void (*scale)(const T* x, float factor, T* y, std::int64_t n, bool accumulate);
  void (*mix)(const T* a, const T* b, float weight, T* y, std::int64_t n);  // y = weight * a + (1 - weight) * b
  void (*dropout)(const Dropout<T>&);
  void (*normalise)(const std::uint8_t* x, const float* scale, const float* shift, T* y, std::int64_t n,
                    std::int64_t period);
  void (*copy_rows)(const CopyRows<T>&);
  void (*activate)(const Activation&, const T* x, T* y, std::int64_t n);
  void (*activate_backward)(const Activation&, const T* dy, const T* kept, T* dx, std::int64_t n, bool accumulate);
  // --- channels of pixels [begin, end); scratch: 1 line, backward 3 ---
  void (*response_norm)(const ResponseNorm&, const T* x, T* y, float* scratch, std::int64_t begin, std::int64_t end);
  void (*response_norm_backward)(const ResponseNorm&, const T* dy, const T* x, T* dx, float* scratch, std::int64_t begin,
                                 std::int64_t end, bool accumulate);
  // Of each pixel's groups * each channels, g * each + j goes to j * groups + g.
  void (*shuffle)(const T* src, T* dst, std::int64_t pixels, std::int64_t groups, std::int64_t each, bool accumulate);
  // --- pooling: rows [begin, end) of all (n * p) output rows, or all (n * h) input rows in the backward passes ---
  void (*max_pool)(const Pool&, const T* x, T* y, std::uint8_t* indices, std::int64_t begin, std::int64_t end);
  void (*max_pool_backward)(const Pool&, const T* dy, const std::uint8_t* indices, T* dx, std::int64_t begin,
                            std::int64_t end, bool accumulate);
  void (*avg_pool)(const Pool&, const T* x, T* y, std::int64_t begin, std::int64_t end);
  void (*avg_pool_backward)(const Pool&, const T* dy, T* dx, std::int64_t begin, std::int64_t end, bool accumulate);
  // The same without a kernel: windows that share the pixels evenly (ops/kernels.h).
  void (*adaptive_pool)(const Pool&, const T* x, T* y, std::int64_t begin, std::int64_t end);
  void (*adaptive_pool_backward)(const Pool&, const T* dy, T* dx, std::int64_t begin, std::int64_t end, bool accumulate);
  // --- depthwise convolution: rows of y; of dx (in a.y, dy in a.x); of dy ---
  void (*depthwise)(const Depthwise<T>& a, std::int64_t begin, std::int64_t end);
  void (*depthwise_backward)(const Depthwise<T>& a, std::int64_t begin, std::int64_t end);
  void (*depthwise_filter)(const DepthwiseFilter<T>& a, std::int64_t begin, std::int64_t end);
  // row r of dst (rows, width) (+)= factor * src (width)
  void (*spread_row)(const T* src, float factor, T* dst, std::int64_t rows, std::int64_t width, bool accumulate);
};

struct SimdKernels {
  const char* isa;
  int lanes;  // floats per vector
  TypedKernels<float> f32;
  TypedKernels<bf16_word> bf16;
  // --- matrix products; no call allocates (up to 320 KiB of stack) ---
  void (*gemm)(const Gemm&);
  // B (k, n) for Gemm::b_packed, zero-padded: element (p, j) is b[p * b_row + j * b_col], one of the strides is 1.
  void (*pack)(const float* b, std::int64_t b_row, std::int64_t b_col, std::int64_t n, std::int64_t k, float* packed);
  std::int64_t (*packed_size)(std::int64_t n, std::int64_t k);  // floats that pack writes
  WinogradKernels winograd;
  // --- bf16 <-> f32 ---
  void (*narrow)(const float* x, bf16_word* y, std::int64_t n);
  void (*widen)(const bf16_word* x, float* y, std::int64_t n);
  // --- loss and optimizer ---
  void (*softmax)(const Softmax&);
  void (*sgd)(const Sgd&, float* value, const float* grad, float* momentum, bf16_word* compute /* or null */,
              std::int64_t n);
  // Nothing but independent chains of fused multiply-adds in registers: the yardstick of arithmetic. Returns a value that
  // depends on all of them; `operations` is how many a round makes.
  float (*fma_chains)(std::int64_t rounds, float factor);
  int fma_operations;
  double (*squared_sum)(const float* x, std::int64_t n);
  void (*blend)(const float* observed, float keep, float take, float* value, std::int64_t n);  // keep * value + take * observed

  template <class T>
  const TypedKernels<T>& typed() const {
    if constexpr (sizeof(T) == 2) {
      return bf16;
    } else {
      return f32;
    }
  }
};

}  // namespace lockstep::simd
