// Layers: what a network is made of. A layer is a name, pointers to its parameters and the op's settings; it is applied
// by a pass (models/passes.h). Parameters are named as torch.nn names them: "<layer>.weight", "<layer>.running_mean".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "models/parameter_store.h"
#include "ops/kernels.h"

namespace lockstep {

struct ConvLayer {
  std::string name;
  const Parameter* weight = nullptr;  // (K, C/groups, R, S)
  const Parameter* bias = nullptr;    // (K), or null
  Conv2dParams params;
};

struct ConvSpec {
  int in_channels = 0, out_channels = 0;
  Pair kernel{1, 1};
  Conv2dParams params;
  bool bias = false;
  std::optional<Init> weight_init = {}, bias_init = {};
};

// Unless given: the weight is He normal over fan-out; the bias as torch's default, uniform in +-1/sqrt(fan-in).
ConvLayer make_conv(ParameterStore& store, const std::string& name, const ConvSpec& spec);

struct NormLayer {
  std::string name;
  const Parameter* gamma = nullptr;  // all four: (C)
  const Parameter* beta = nullptr;
  const Buffer* running_mean = nullptr;
  const Buffer* running_var = nullptr;
  double eps = 1e-5;
};

struct NormSpec {
  double eps = 1e-5;
  double momentum = 0.1;  // share of the newest batch in the running statistics
  bool zero_gamma = false;
};

// gamma 1 (or 0), beta 0, running mean 0, running variance 1.
NormLayer make_norm(ParameterStore& store, const std::string& name, int channels, const NormSpec& spec);

struct LinearLayer {
  std::string name;
  const Parameter* weight = nullptr;  // (OUT, IN)
  const Parameter* bias = nullptr;    // (OUT)
};

// Unless given: both as torch's default, uniform in +-1/sqrt(fan-in).
struct LinearInit {
  std::optional<Init> weight = {}, bias = {};
};

LinearLayer make_linear(ParameterStore& store, const std::string& name, int in_features, int out_features, const LinearInit& init = {});

struct PoolLayer {
  std::string name;
  Pool2dParams params;
};

}  // namespace lockstep
