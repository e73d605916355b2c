// SPDX-License-Identifier: Apache-2.0
#include "models/layers.h"

#include "core/error.h"

namespace lockstep {

ConvLayer make_conv(ParameterStore& store, const std::string& name, const ConvSpec& spec) {
  const Conv2dParams& params = spec.params;
  LS_CHECK(spec.in_channels % params.groups == 0, name + ": groups must divide the input channels");
  const std::int64_t area = std::int64_t{spec.kernel.h} * spec.kernel.w;
  const std::int64_t fan_in = spec.in_channels / params.groups * area, fan_out = spec.out_channels * area;
  const Shape shape{spec.out_channels, spec.in_channels / params.groups, spec.kernel.h, spec.kernel.w};
  ConvLayer layer{.name = name, .params = params};
  layer.weight = store.add_parameter(name + ".weight", ParameterKind::kWeight, shape, spec.weight_init.value_or(Init::he_normal(fan_out)));
  if (spec.bias)
    layer.bias = store.add_parameter(name + ".bias", ParameterKind::kBias, {spec.out_channels},
                                     spec.bias_init.value_or(Init::uniform_fan_in(fan_in)));
  return layer;
}

NormLayer make_norm(ParameterStore& store, const std::string& name, int channels, const NormSpec& spec) {
  const Init gamma = Init::constant(spec.zero_gamma ? 0.0 : 1.0);
  NormLayer layer{.name = name, .eps = spec.eps};
  layer.gamma = store.add_parameter(name + ".weight", ParameterKind::kNormScale, {channels}, gamma);
  layer.beta = store.add_parameter(name + ".bias", ParameterKind::kNormBias, {channels}, Init::constant(0.0));
  layer.running_mean = store.add_buffer(name + ".running_mean", {channels}, spec.momentum, 0.0);
  layer.running_var = store.add_buffer(name + ".running_var", {channels}, spec.momentum, 1.0);
  return layer;
}

LinearLayer make_linear(ParameterStore& store, const std::string& name, int in_features, int out_features, const LinearInit& init) {
  const Init fan_in = Init::uniform_fan_in(in_features);
  LinearLayer layer{.name = name};
  layer.weight = store.add_parameter(name + ".weight", ParameterKind::kWeight, {out_features, in_features}, init.weight.value_or(fan_in));
  layer.bias = store.add_parameter(name + ".bias", ParameterKind::kBias, {out_features}, init.bias.value_or(fan_in));
  return layer;
}

}  // namespace lockstep
