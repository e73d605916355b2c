// AmxKernels: the parts of a bf16 matrix product C = A B, summed over an index that comes in steps of 32, on AMX tiles with
// f32 sums. Plain pointers only, as in simd_kernels.h; compiled in simd/amx_bf16.cpp, chosen by amx_dispatch.h.
//
// A packed panel holds 32 rows of A, or 32 columns of B, kAmxPanelBytes a step.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace lockstep::simd {

inline constexpr std::int64_t kAmxStep = 32, kAmxPanel = 32, kAmxPanelBytes = 2048;

// bf16 values at rows[i][offset + j]. pack_a (A transposed), pack_b: i in [0, 32 * steps) is the summed index, j in [0,
// columns), columns <= kAmxPanel. pack_rows (A): i in [0, 32) is A's row, j in [0, columns), columns <= 32 * steps, is summed.
struct AmxSource {
  const std::uint16_t* const* rows;
  std::int64_t offset, columns, steps;
};

// Rows that a later call reads: fetched into the L2 cache while the tiles work.
struct AmxAhead {
  const std::uint16_t* const* rows;
  std::int64_t count, bytes;  // rows, bytes of each
};

// c (rows, columns), row stride `stride` floats, is set to the product of panels a and b, or has it added.
struct AmxBlock {
  const void *a, *b;
  std::int64_t steps;
  float* c;
  std::int64_t stride, rows, columns;  // rows, columns <= kAmxPanel
  bool accumulate;
  AmxAhead ahead[2];
};

// bf16 row i of c [+]= row i of the f32 sums (row stride `stride`), added in f32 and rounded once, to nearest even.
struct AmxRound {
  const float* sums;
  std::int64_t stride;
  std::uint16_t* const* rows;
  std::int64_t count, columns;
  bool accumulate;
};

struct AmxKernels {
  void (*begin)();  // the calling thread's tiles; end() gives them back
  void (*end)();
  void (*pack_a)(const AmxSource&, void* panel);  // transposed: the costlier one
  void (*pack_b)(const AmxSource&, void* panel);
  void (*pack_rows)(const AmxSource&, void* panel);
  void (*multiply)(const AmxBlock&);
  void (*round)(const AmxRound&);
};

}  // namespace lockstep::simd
