// ParameterStore: owns a network's parameters and buffers, with the rule by which each begins.
//
// Addresses are stable: layers, tape and reducer keep pointers. Ids count up in the order of creation, which is the order
// of the forward pass. Values lie on the CPU.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/parameter.h"
#include "core/shape.h"

namespace lockstep {

// How a parameter or buffer begins. scale: the standard deviation of a normal, the bound of a uniform.
struct Init {
  enum class Rule : std::uint8_t { kConstant, kNormal, kUniform };
  Rule rule = Rule::kConstant;
  double scale = 0;

  static Init constant(double value) { return {Rule::kConstant, value}; }
  static Init normal(double standard_deviation) { return {Rule::kNormal, standard_deviation}; }
  static Init uniform(double bound) { return {Rule::kUniform, bound}; }
  // He et al. 2015, "Delving deep into rectifiers", eq. 15: variance 2 / fan_out keeps the gradients' size through ReLUs.
  static Init he_normal(std::int64_t fan_out);
  // torch.nn.Linear's default: uniform in +-1/sqrt(fan_in), weight and bias.
  static Init uniform_fan_in(std::int64_t fan_in);
};

class ParameterStore {
 public:
  explicit ParameterStore(DType dtype) : dtype_(dtype) {}
  ParameterStore(const ParameterStore&) = delete;
  ParameterStore& operator=(const ParameterStore&) = delete;

  // The value is uninitialised until initialise(). Two of one name: internal error.
  const Parameter* add_parameter(const std::string& name, ParameterKind kind, const Shape& shape, Init init);
  const Buffer* add_buffer(const std::string& name, const Shape& shape, double momentum, double initial_value);

  // Sets every parameter and buffer. A parameter's values are a function of (seed, id, row-major index in its logical
  // shape, (K, C, R, S) for filters): not of memory order, dtype (f64 holds the floats) or the other parameters.
  void initialise(std::uint64_t seed);

  const std::vector<Parameter*>& parameters() const { return parameters_; }
  const std::vector<Buffer*>& buffers() const { return buffers_; }

 private:
  void check_new_name(const std::string& name) const;

  DType dtype_;
  std::vector<std::unique_ptr<Parameter>> owned_parameters_;
  std::vector<std::unique_ptr<Buffer>> owned_buffers_;
  std::vector<Parameter*> parameters_;
  std::vector<Buffer*> buffers_;
  std::vector<Init> parameter_inits_;       // by id
  std::vector<double> buffer_values_;       // by id
};

}  // namespace lockstep
