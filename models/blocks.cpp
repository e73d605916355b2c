// SPDX-License-Identifier: Apache-2.0
#include "models/blocks.h"

#include <algorithm>

namespace lockstep {

ConvSpec same_conv(int in_channels, int out_channels, int kernel, int stride, int groups) {
  const int pad = kernel / 2;
  return {in_channels, out_channels, {kernel, kernel}, {.stride = {stride, stride}, .pad = {pad, pad}, .groups = groups}};
}

ConvNorm make_conv_norm(ParameterStore& store, const std::string& conv, const std::string& norm, const ConvSpec& spec, const NormSpec& norm_spec) {
  ConvNorm layer{.conv = make_conv(store, conv, spec), .norm = {}};
  layer.norm = make_norm(store, norm, spec.out_channels, norm_spec);
  return layer;
}

int proportional(int channels, int own, const ModelOptions& options, int multiple) {
  if (options.base_width == 0) return channels;
  const int share = channels * options.base_width / own;
  return std::max(share / multiple, 1) * multiple;
}

int multiplied(int channels, double multiplier, int divisor) {
  const double wanted = channels * multiplier;
  const int nearest = std::max(divisor, static_cast<int>(wanted + divisor / 2.0) / divisor * divisor);
  return nearest < 0.9 * wanted ? nearest + divisor : nearest;
}

double dropout_of(const ModelOptions& options, double own) { return options.dropout < 0 ? own : options.dropout; }

}  // namespace lockstep
