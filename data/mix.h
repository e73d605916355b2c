// Mix: mixup and CutMix of the images of a shard. The loader only draws; what is drawn travels beside images and labels as
// one row per image, and is applied to normalised images and to the loss on the device (ops/mix_images.h,
// ops/softmax_cross_entropy.h).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "core/mix_row.h"
#include "core/philox.h"

namespace lockstep {

// Outside of this range a Beta's variates can't be told from those at its end.
inline constexpr double kMinMixAlpha = 1e-300, kMaxMixAlpha = 1e300;

struct MixOptions {
  double mixup_alpha = 0, cutmix_alpha = 0;  // of Beta(alpha, alpha); 0: not used
  double probability = 1;                    // share of the shards that are mixed
  double switch_probability = 0.5;           // with both: share of these that get CutMix
  bool enabled() const { return mixup_alpha > 0 || cutmix_alpha > 0; }
};

// Draws a shard's rows: a function of (seed, step, shard) and the labels alone. timm's rule in "batch" mode: one draw for
// the shard, partner of image i is n - 1 - i. As many rows as labels.
void draw_mix(const MixOptions& options, int height, int width, std::uint64_t seed, std::int64_t step, int shard,
              std::span<const std::int32_t> labels, std::span<MixRow> rows);

// From Beta(alpha, alpha), alpha in [kMinMixAlpha, kMaxMixAlpha], in double: X / (X + Y) of two gamma variates by Marsaglia
// and Tsang's method (2000), put together from their logarithms, so that none under- or overflows. log, exp, sqrt and cos are
// the C library's: hosts with the same one draw the same.
double draw_beta(double alpha, RandomStream& random);

struct MixBox {
  int top = 0, left = 0, height = 0, width = 0;
  bool operator==(const MixBox&) const = default;
};

// CutMix's box of (1 - lambda) of the area about a centre, cut off at the image's edges (timm's rand_bbox without margin).
MixBox cutmix_box(int height, int width, double lambda, int centre_y, int centre_x);

}  // namespace lockstep
