// Passes: what can be done with a network that is written once. A network is a function template over a pass; the pass
// says what a value is and what applying a layer means.
//
// OpPass runs the ops (values are Vars). ShapePass runs only the shape rules (values are Shapes): it lists the layers and
// finds what does not fit before any memory is touched.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/layers.h"
#include "ops/context.h"

namespace lockstep {

class OpPass {
 public:
  using Value = Var;
  explicit OpPass(Context& context) : context_(context) {}

  Var conv(const ConvLayer& layer, const Var& x);
  Var norm(const NormLayer& layer, const Var& x);
  Var norm_relu(const NormLayer& layer, const Var& x);
  Var norm_add_relu(const NormLayer& layer, const Var& x, const Var& residual);  // relu(norm(x) + residual)
  Var norm_conv(const NormLayer& norm, const ConvLayer& conv, const Var& x);     // conv(relu(norm(x))), nothing kept between
  Var max_pool(const PoolLayer& layer, const Var& x);
  Var global_avg_pool(const std::string& name, const Var& x);  // (N,C,H,W) -> (N,C)
  Var linear(const LinearLayer& layer, const Var& x);  // the classifier: logits are statistics (ops/kernels.h)

 private:
  Context& context_;
};

// One row of a network's table.
struct LayerInfo {
  std::string name;         // "layer1.0.conv1"
  std::string_view op;      // "conv2d", "batch_norm", ...
  Shape output;
  std::int64_t parameters = 0;        // elements
  std::int64_t multiply_adds = 0;     // of the whole batch, forward; convolutions and matrix products only
};

class ShapePass {
 public:
  using Value = Shape;
  // norm_images: how many images batch norm sees together when training (shard or group). 0: evaluation, no such check.
  explicit ShapePass(std::int64_t norm_images = 0) : norm_images_(norm_images) {}

  // Each throws UserError naming the layer if its input does not fit.
  Shape conv(const ConvLayer& layer, const Shape& x);
  Shape norm(const NormLayer& layer, const Shape& x);
  Shape norm_relu(const NormLayer& layer, const Shape& x) { return norm(layer, x); }
  Shape norm_add_relu(const NormLayer& layer, const Shape& x, const Shape& residual);
  Shape norm_conv(const NormLayer& norm, const ConvLayer& conv, const Shape& x) { return this->conv(conv, this->norm(norm, x)); }
  Shape max_pool(const PoolLayer& layer, const Shape& x);
  Shape global_avg_pool(const std::string& name, const Shape& x);
  Shape linear(const LinearLayer& layer, const Shape& x);

  std::vector<LayerInfo> take_layers() { return std::move(layers_); }

 private:
  std::int64_t norm_images_;
  std::vector<LayerInfo> layers_;
};

}  // namespace lockstep
