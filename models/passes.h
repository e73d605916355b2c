// Passes: what can be done with a network that is written once. A network is a function template over a pass; the pass
// says what a value is and what applying a layer means.
//
// OpPass runs the ops (values are Vars). ShapePass runs only the shape rules (values are Shapes): it lists the layers and
// finds what does not fit before any memory is touched.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/layers.h"
#include "ops/context.h"
#include "ops/work.h"

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
  Var logits(const std::string& name, const Var& x);   // (N, K) as statistics, for networks that don't end in `linear`
  Var hidden_linear(const LinearLayer& layer, const Var& x);  // (N, IN) -> (N, OUT) in x's dtype
  Var relu(const std::string& name, const Var& x);
  Var activation(const std::string& name, const Activation& function, const Var& x);
  Var add(const std::string& name, const Var& a, const Var& b);
  Var concat(const std::string& name, std::span<const Var> inputs);  // along the channels
  Var dropout(const std::string& name, double p, const Var& x);      // the identity in evaluation
  Var flatten(const std::string& name, const Var& x);                // (N, C, H, W) -> (N, C H W), in torch's order
  Var avg_pool(const PoolLayer& layer, const Var& x);
  Var adaptive_avg_pool(const std::string& name, Pair output, const Var& x);
  Var response_norm(const std::string& name, const ResponseNorm& params, const Var& x);
  Var shuffle_channels(const std::string& name, int groups, const Var& x);
  Var shift_channels(const std::string& name, int kernel, const Var& x);

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
  Work work{};                        // of the whole batch, forward
};

class ShapePass {
 public:
  using Value = Shape;
  // norm_images: how many images batch norm sees together when training (shard or group). 0: evaluation, no such check.
  explicit ShapePass(std::int64_t norm_images = 0) : norm_images_(norm_images) {}

  // Each throws UserError naming the layer if its input does not fit.
  Shape conv(const ConvLayer& layer, const Shape& x);
  Shape norm(const NormLayer& layer, const Shape& x) { return normalise(layer, x, false, nullptr); }
  Shape norm_relu(const NormLayer& layer, const Shape& x) { return normalise(layer, x, true, nullptr); }
  Shape norm_add_relu(const NormLayer& layer, const Shape& x, const Shape& residual) { return normalise(layer, x, true, &residual); }
  Shape norm_conv(const NormLayer& norm, const ConvLayer& conv, const Shape& x);
  Shape max_pool(const PoolLayer& layer, const Shape& x);
  Shape global_avg_pool(const std::string& name, const Shape& x);
  Shape linear(const LinearLayer& layer, const Shape& x);
  Shape logits(const std::string& name, const Shape& x);
  Shape hidden_linear(const LinearLayer& layer, const Shape& x) { return linear(layer, x); }
  Shape relu(const std::string& name, const Shape& x);
  Shape activation(const std::string& name, const Activation& function, const Shape& x);
  Shape add(const std::string& name, const Shape& a, const Shape& b);
  Shape concat(const std::string& name, std::span<const Shape> inputs);
  Shape dropout(const std::string& name, double p, const Shape& x);
  Shape flatten(const std::string& name, const Shape& x);
  Shape avg_pool(const PoolLayer& layer, const Shape& x);
  Shape adaptive_avg_pool(const std::string& name, Pair output, const Shape& x);
  Shape response_norm(const std::string& name, const ResponseNorm& params, const Shape& x);
  Shape shuffle_channels(const std::string& name, int groups, const Shape& x);
  Shape shift_channels(const std::string& name, int kernel, const Shape& x);

  std::vector<LayerInfo> take_layers() { return std::move(layers_); }

 private:
  Shape normalise(const NormLayer& layer, const Shape& x, bool relu, const Shape* residual);

  std::int64_t norm_images_;
  std::vector<LayerInfo> layers_;
};

}  // namespace lockstep
