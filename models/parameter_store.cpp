// SPDX-License-Identifier: Apache-2.0
#include "models/parameter_store.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "models/initialise.h"

namespace lockstep {
namespace {

template <class T>
void fill_constant(Tensor& value, double constant) {
  std::ranges::fill(value.host<T>(), static_cast<T>(constant));
}

void set_constant(Tensor& value, double constant) {
  value.dtype() == DType::kF64 ? fill_constant<double>(value, constant) : fill_constant<float>(value, constant);
}

// `row_major` may be widened, never rounded: f32 and f64 networks begin with the same numbers.
void store_row_major(const std::vector<float>& row_major, Tensor& value) {
  if (value.dtype() == DType::kF64) {
    const std::vector<double> wide(row_major.begin(), row_major.end());
    row_major_to_channels_last(wide.data(), value.ptr(), value.shape(), sizeof(double));
  } else {
    row_major_to_channels_last(row_major.data(), value.ptr(), value.shape(), sizeof(float));
  }
}

}  // namespace

Init Init::he_normal(std::int64_t fan_out) { return {Rule::kNormal, std::sqrt(2.0 / static_cast<double>(fan_out))}; }

Init Init::uniform_fan_in(std::int64_t fan_in) { return {Rule::kUniform, 1.0 / std::sqrt(static_cast<double>(fan_in))}; }

void ParameterStore::check_new_name(const std::string& name) const {
  const auto same = [&](const auto* entry) { return entry->name == name; };
  LS_CHECK(std::ranges::none_of(parameters_, same) && std::ranges::none_of(buffers_, same), "two entries named " + name);
}

const Parameter* ParameterStore::add_parameter(const std::string& name, ParameterKind kind, const Shape& shape, Init init) {
  check_new_name(name);
  const int id = static_cast<int>(parameters_.size());
  owned_parameters_.push_back(std::make_unique<Parameter>(Parameter{id, name, kind, Tensor::empty(shape, dtype_)}));
  parameters_.push_back(owned_parameters_.back().get());
  parameter_inits_.push_back(init);
  return parameters_.back();
}

const Buffer* ParameterStore::add_buffer(const std::string& name, const Shape& shape, double momentum, double initial_value) {
  check_new_name(name);
  const int id = static_cast<int>(buffers_.size());
  owned_buffers_.push_back(std::make_unique<Buffer>(Buffer{id, name, Tensor::empty(shape, dtype_), momentum}));
  buffers_.push_back(owned_buffers_.back().get());
  buffer_values_.push_back(initial_value);
  return buffers_.back();
}

void ParameterStore::initialise(std::uint64_t seed) {
  std::vector<float> drawn;
  for (Parameter* parameter : parameters_) {
    const Init& init = parameter_inits_[static_cast<std::size_t>(parameter->id)];
    if (init.rule == Init::Rule::kConstant) {
      set_constant(parameter->value, init.scale);
      continue;
    }
    const RandomKey key{.seed = seed, .purpose = RandomPurpose::kInit, .b = static_cast<std::uint64_t>(parameter->id)};
    drawn.resize(static_cast<std::size_t>(parameter->value.numel()));
    init.rule == Init::Rule::kNormal ? draw_normal(key, init.scale, drawn) : draw_uniform(key, init.scale, drawn);
    store_row_major(drawn, parameter->value);
  }
  for (Buffer* buffer : buffers_) set_constant(buffer->value, buffer_values_[static_cast<std::size_t>(buffer->id)]);
}

}  // namespace lockstep
