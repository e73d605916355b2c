// SPDX-License-Identifier: Apache-2.0
#include "models/inception_network.h"

namespace lockstep {

ConvNorm InceptionNetwork::make_basic(const Basic& spec) {
  constexpr double kOwnEps = 1e-3;
  const ConvSpec conv{.in_channels = spec.in, .out_channels = spec.out, .kernel = spec.kernel,
                      .params = {.stride = {spec.stride, spec.stride}, .pad = spec.pad}, .weight_init = weights_};
  return make_conv_norm(store(), spec.name + ".conv", spec.name + ".bn", conv, norm_spec(false, kOwnEps));
}

InceptionNetwork::Chain InceptionNetwork::chain(std::initializer_list<Basic> specs) {
  Chain layers;
  for (const Basic& spec : specs) layers.push_back(make_basic(spec));
  return layers;
}

void InceptionNetwork::make_head(int channels, double own_dropout) {
  dropout_ = dropout_of(options(), own_dropout);
  fc_ = make_linear(store(), "fc", channels, options().classes, {.weight = weights_});
}

}  // namespace lockstep
