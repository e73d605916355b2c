// PlainNetwork: convolutions one after the other, pooling between them, then fully connected layers: AlexNet's and VGG's form.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/blocks.h"

namespace lockstep {

class PlainNetwork : public NetworkModel<PlainNetwork> {
 public:
  template <class Pass>
  typename Pass::Value run(Pass& pass, const typename Pass::Value& images) const;

 protected:
  using NetworkModel::NetworkModel;

  struct ResponseNormLayer {
    std::string name;
    ResponseNorm params;
  };

  // conv, [batch norm,] ReLU, [response norm,] [max pooling]
  struct Stage {
    ConvLayer conv;
    std::optional<NormLayer> norm;
    std::string relu;
    std::optional<ResponseNormLayer> response_norm;
    std::optional<PoolLayer> pool;
  };

  // A fully connected layer with ReLU, and its dropout: of its input, or of its output.
  struct Hidden {
    std::string dropout, relu;
    LinearLayer linear;
    bool drops_input = false;
  };

  std::vector<Stage> stages_;
  std::string avgpool_ = "avgpool", flatten_ = "flatten";
  Pair grid_{1, 1};  // what every image is pooled to, so that the fully connected layers fit any size of image
  std::vector<Hidden> hidden_;
  LinearLayer classifier_;
  double dropout_ = 0;
};

template <class Pass>
typename Pass::Value PlainNetwork::run(Pass& pass, const typename Pass::Value& images) const {
  auto x = images;
  for (const Stage& stage : stages_) {
    x = pass.conv(stage.conv, x);
    x = stage.norm ? pass.norm_relu(*stage.norm, x) : pass.relu(stage.relu, x);
    if (stage.response_norm) x = pass.response_norm(stage.response_norm->name, stage.response_norm->params, x);
    if (stage.pool) x = pass.max_pool(*stage.pool, x);
  }
  x = pass.adaptive_avg_pool(avgpool_, grid_, x);
  x = pass.flatten(flatten_, x);
  for (const Hidden& layer : hidden_) {
    if (layer.drops_input) x = pass.dropout(layer.dropout, dropout_, x);
    x = pass.hidden_linear(layer.linear, x);
    x = pass.relu(layer.relu, x);
    if (!layer.drops_input) x = pass.dropout(layer.dropout, dropout_, x);
  }
  return pass.linear(classifier_, x);
}

}  // namespace lockstep
