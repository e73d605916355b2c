// MixRow: what one image of a shard gets from another one by mixup or CutMix. The loader draws the rows (data/mix.h), the kernels
// read them (ops/kernels.h), as an i32 tensor (n, 8).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace lockstep {

// What image i of a shard gets from image `partner` of the same shard. The row of an unmixed image: {i, its label, 1}.
//   mixup:  x[i] = weight * x[i] + (1 - weight) * x[partner]
//   CutMix: the box of x[i] is the box of x[partner]; weight = 1 - the box's share of the area
//   both:   loss = weight * loss(label of i) + (1 - weight) * loss(label)
struct MixRow {
  std::int32_t partner = 0;
  std::int32_t label = 0;  // the partner's
  float weight = 1;        // of image i and of its own label
  std::int32_t top = 0, left = 0, height = 0, width = 0;  // height > 0: CutMix
  std::int32_t unused = 0;
};
static_assert(sizeof(MixRow) == 32, "rows lie in an i32 tensor (n, 8)");
constexpr int kMixRowWords = 8;

}  // namespace lockstep
