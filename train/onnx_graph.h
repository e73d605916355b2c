// InferenceGraph: a network in evaluation mode as a list of ONNX operators over named values.
//
// It is not a second description of the network: trace_inference runs the model's own forward pass on a backend that computes
// nothing and writes down what it is asked for, so whatever a network of models/ does in evaluation is what is exported.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "models/model.h"

namespace lockstep {

struct GraphNode {
  std::string name;  // unique: the layer's, where it has one
  std::string op;    // ONNX's operator: "Conv"
  std::vector<std::string> inputs;  // values, then constants, in the operator's order
  std::string output;
  std::map<std::string, std::variant<std::int64_t, float, std::vector<std::int64_t>>> attributes;
};

// A weight or statistic: row-major, whatever the model's precision.
struct GraphConstant {
  std::string name;  // the parameter's or buffer's
  std::vector<std::int64_t> extents;
  std::vector<float> values;
};

struct InferenceGraph {
  std::string input, output;        // values
  Shape input_shape, output_shape;  // of one image: extent 0 is the batch, any number
  std::vector<GraphNode> nodes;     // in an order in which they can be computed
  std::vector<GraphConstant> constants;  // those that the nodes use, in the model's order; then what no parameter holds

  const GraphConstant* constant(const std::string& name) const;  // null when there is none
};

// The model's forward pass on normalised images of this height and width. The model lies on the host. Throws UserError when the
// network uses something for which there is no ONNX operator here. `input` and `output` become the values' names.
InferenceGraph trace_inference(const Model& model, int height, int width, const std::string& input, const std::string& output);

// Batch norms that alone read a convolution's output become part of its weight and bias (computed in double, rounded once).
void fold_batch_norms(InferenceGraph& graph);

}  // namespace lockstep
