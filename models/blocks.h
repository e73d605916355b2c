// Blocks: what several families of networks are built from.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "models/model.h"

namespace lockstep {

struct ConvNorm {
  ConvLayer conv;
  NormLayer norm;
};

// Square filters, padded by half their size: with an odd size and stride 1 the image keeps its size.
ConvSpec same_conv(int in_channels, int out_channels, int kernel, int stride = 1, int groups = 1);

ConvNorm make_conv_norm(ParameterStore& store, const std::string& conv, const std::string& norm, const ConvSpec& spec, const NormSpec& norm_spec);

// relu(norm(conv(x))), layer after layer; the activations between two layers are not kept (ops/norm_conv2d.h).
template <class Pass>
typename Pass::Value run_chain(Pass& pass, std::span<const ConvNorm> chain, const typename Pass::Value& x) {
  auto y = pass.conv(chain.front().conv, x);
  for (std::size_t i = 1; i < chain.size(); ++i) y = pass.norm_conv(chain[i - 1].norm, chain[i].conv, y);
  return pass.norm_relu(chain.back().norm, y);
}

// `channels` of a network whose first stage has `own` of them, in proportion when the options give another base_width; at least
// 1, and a multiple of `multiple`.
int proportional(int channels, int own, const ModelOptions& options, int multiple = 1);

// channels * multiplier, to the nearest multiple of `divisor` but not below 90 % and at least one `divisor`: the rule of the
// MobileNets' authors.
int multiplied(int channels, double multiplier, int divisor);

// The options' share, or the network's own.
double dropout_of(const ModelOptions& options, double own);

}  // namespace lockstep
