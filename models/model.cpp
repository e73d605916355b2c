// SPDX-License-Identifier: Apache-2.0
#include "models/model.h"

#include "core/error.h"

namespace lockstep {
namespace {

void check_option(bool fits, const std::string& field, const std::string& got, const std::string& want) {
  if (!fits) throw UserError(field + ": got " + got + ", want " + want);
}

const ModelOptions& checked(const ModelOptions& o) {
  const auto positive = [](int value, const std::string& field) {
    check_option(value > 0, field, std::to_string(value), "1 or more");
  };
  positive(o.classes, "model.classes");
  positive(o.channels, "input channels");
  positive(o.height, "input height");
  positive(o.width, "input width");
  constexpr int kWidest = 4096;  // eight times wider in the last stage, four times more in a bottleneck: still an int
  check_option(o.base_width >= 0 && o.base_width <= kWidest, "model.base_width", std::to_string(o.base_width), "0 to 4096");
  check_option(!o.bn_eps || (*o.bn_eps > 0 && *o.bn_eps < 1), "model.batch_norm.eps", std::to_string(o.bn_eps.value_or(0)),
               "more than 0, less than 1");
  check_option(o.bn_momentum >= 0 && o.bn_momentum <= 1, "model.batch_norm.momentum", std::to_string(o.bn_momentum), "0 to 1");
  check_option(o.dropout < 1, "model.dropout", std::to_string(o.dropout), "less than 1 (below 0: the network's own)");
  constexpr double kWidestMultiple = 16;
  check_option(o.width_multiplier > 0 && o.width_multiplier <= kWidestMultiple, "model.width_multiplier", std::to_string(o.width_multiplier),
               "more than 0, at most 16");
  check_option(o.dtype == DType::kF32 || o.dtype == DType::kF64, "dtype of the parameters", std::string(dtype_name(o.dtype)),
               "f32 or f64");
  return o;
}

}  // namespace

Model::Model(const ModelOptions& options) : options_(checked(options)), store_(options.dtype) {}

std::int64_t Model::parameter_count() const {
  std::int64_t count = 0;
  for (const Parameter* parameter : parameters()) count += parameter->value.numel();
  return count;
}

void Model::check_images(const Shape& images) const {
  const bool fits = images.rank() == 4 && images[0] > 0 && images[1] == options_.channels && images[2] > 0 && images[3] > 0;
  if (fits) return;
  throw UserError("model " + name() + ": got images " + images.str() + ", want (N, " + std::to_string(options_.channels) +
                  ", H, W), none of them 0\n  the number of channels is fixed when the network is built (data.channels)");
}

void Model::check_input(const Shape& images, std::int64_t norm_images) const {
  check_images(images);
  ShapePass pass(norm_images);
  trace(pass, images);
}

std::vector<LayerInfo> Model::layers(const Shape& images) const {
  check_images(images);
  ShapePass pass;
  trace(pass, images);
  return pass.take_layers();
}

}  // namespace lockstep
