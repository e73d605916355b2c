// Model: a network with its parameters and buffers. Built by name from ModelOptions; see models/zoo.h for the names.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/parameter_store.h"
#include "models/passes.h"
#include "ops/context.h"

namespace lockstep {

enum class Stem : std::uint8_t {
  kAuto,      // what suits the network
  kImagenet,  // 7x7 convolution with stride 2, 3x3 max pooling with stride 2
  kSmall,     // 3x3 convolution with stride 1
};

struct ModelOptions {
  std::string name = "resnet50";
  int classes = 1000;
  int channels = 3;        // of the input images
  int height = 224, width = 224;
  bool v1 = false;         // bottleneck blocks: stride in the first 1x1 convolution instead of the 3x3
  Stem stem = Stem::kAuto;
  bool zero_gamma = false;  // last batch norm of each residual branch begins with gamma 0
  int base_width = 0;       // channels of the first stage; 0: the network's own
  std::optional<double> bn_eps = {};  // none: the network's own, 1e-5 but for googlenet and inception_v3
  double bn_momentum = 0.1;      // share of the newest batch in the running statistics
  double dropout = -1;           // of networks that have it; below 0: the network's own
  double width_multiplier = 1;   // of families of sizes
  DType dtype = DType::kF32;     // of parameters and buffers: f32 or f64
};

class Model {
 public:
  // Throws UserError for an option out of range.
  explicit Model(const ModelOptions& options);
  virtual ~Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const ModelOptions& options() const { return options_; }
  const std::string& name() const { return options_.name; }

  // In forward order; parameters()[i]->id == i, buffers()[i]->id == i. Values lie on the CPU and are owned by the model.
  const std::vector<Parameter*>& parameters() const { return store_.parameters(); }
  const std::vector<Buffer*>& buffers() const { return store_.buffers(); }
  std::int64_t parameter_count() const;  // elements

  // Every parameter and buffer, from the seed alone (models/parameter_store.h). Blocks until done: resnet50 takes 0.4 s.
  void initialise(std::uint64_t seed) { store_.initialise(seed); }

  // images (N, channels, H, W), floating -> logits (N, classes). H and W may differ from the options'. Const and without
  // state of its own: passes with different contexts may run at the same time.
  virtual Var forward(Context& context, const Var& images) const = 0;

  // How the names of what torchvision's files hold and this network leaves out begin: classifiers that only its training uses.
  virtual std::span<const std::string_view> left_out() const { return {}; }

  // The shape rules only: throws UserError naming the first layer that does not fit. `norm_images` is the number of images
  // that batch norm sees together in training (it needs two values per channel); 0 when evaluating.
  void check_input(const Shape& images, std::int64_t norm_images = 0) const;
  // The network's table for such images, in forward order.
  std::vector<LayerInfo> layers(const Shape& images) const;

 protected:
  ParameterStore& store() { return store_; }
  NormSpec norm_spec(bool zero_gamma = false, double own_eps = 1e-5) const {
    return {options_.bn_eps.value_or(own_eps), options_.bn_momentum, zero_gamma};
  }

 private:
  virtual void trace(ShapePass& pass, const Shape& images) const = 0;
  void check_images(const Shape& images) const;

  ModelOptions options_;
  ParameterStore store_;
};

// Base of a network that has `template <class Pass> typename Pass::Value run(Pass&, const typename Pass::Value& images)
// const`: the network is written once, every pass follows.
template <class Network>
class NetworkModel : public Model {
 public:
  using Model::Model;
  Var forward(Context& context, const Var& images) const override {
    OpPass pass(context);
    return static_cast<const Network*>(this)->run(pass, images);
  }

 private:
  void trace(ShapePass& pass, const Shape& images) const override { static_cast<const Network*>(this)->run(pass, images); }
};

// The network called options.name, not yet initialised. UserError: an unknown name (with a suggestion and the list), an option
// that this network does not have, images of options' height and width that are too small for it.
std::unique_ptr<Model> make_model(const ModelOptions& options);

}  // namespace lockstep
