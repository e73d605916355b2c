// SPDX-License-Identifier: Apache-2.0
#include "train/onnx_file.h"

#include <fmt/format.h>

#include <bit>
#include <climits>

#include "core/error.h"
#include "proto/onnx.pb.h"

namespace lockstep {
namespace {

static_assert(std::endian::native == std::endian::little, "ONNX payloads are little-endian");

// The newest file format that readers of this operator set know.
std::int64_t ir_version(int opset) { return opset >= 19 ? 9 : 8; }

void describe_value(const std::string& name, const Shape& shape, proto::onnx::Value& value) {
  value.set_name(name);
  auto& type = *value.mutable_type()->mutable_tensor_type();
  type.set_elem_type(proto::onnx::FLOAT_ELEMENT);
  type.mutable_shape()->add_dim()->set_dim_param("N");
  for (int axis = 1; axis < shape.rank(); ++axis) type.mutable_shape()->add_dim()->set_dim_value(shape[axis]);
}

struct WriteAttribute {
  proto::onnx::Attribute& out;
  void operator()(std::int64_t value) const {
    out.set_type(proto::onnx::Attribute::INT);
    out.set_i(value);
  }
  void operator()(float value) const {
    out.set_type(proto::onnx::Attribute::FLOAT);
    out.set_f(value);
  }
  void operator()(const std::vector<std::int64_t>& values) const {
    out.set_type(proto::onnx::Attribute::INTS);
    out.mutable_ints()->Assign(values.begin(), values.end());
  }
};

void write_node(const GraphNode& node, proto::onnx::Node& out) {
  out.set_name(node.name);
  out.set_op_type(node.op);
  for (const std::string& input : node.inputs) out.add_input(input);
  out.add_output(node.output);
  for (const auto& [name, value] : node.attributes) {
    proto::onnx::Attribute& attribute = *out.add_attribute();
    attribute.set_name(name);
    std::visit(WriteAttribute{attribute}, value);
  }
}

void write_constant(const GraphConstant& constant, proto::onnx::Tensor& out) {
  out.set_name(constant.name);
  out.set_data_type(proto::onnx::FLOAT_ELEMENT);
  out.mutable_dims()->Assign(constant.extents.begin(), constant.extents.end());
  out.set_raw_data(constant.values.data(), constant.values.size() * sizeof(float));
}

void check_names(const InferenceGraph& graph) {
  if (graph.input == graph.output)
    throw UserError(fmt::format("ONNX export: '{}' names both input and output: want two names", graph.input));
  for (const std::string& name : {graph.input, graph.output})
    if (graph.constant(name) != nullptr)
      throw UserError(fmt::format("ONNX export: '{}' is the name of a weight: want another for the graph's input and output", name));
}

}  // namespace

std::string onnx_bytes(const InferenceGraph& graph, const OnnxOptions& options) {
  check_names(graph);
  LS_CHECK(options.opset >= kOnnxOldestOpset && options.opset <= kOnnxNewestOpset, fmt::format("opset {}", options.opset));
  proto::onnx::Model model;
  model.set_ir_version(ir_version(options.opset));
  model.set_producer_name("lockstep");
  model.set_producer_version(options.producer);
  proto::onnx::OperatorSet& operators = *model.add_opset_import();
  operators.set_domain("");
  operators.set_version(options.opset);
  for (const auto& [key, value] : options.metadata) {
    proto::onnx::Entry& entry = *model.add_metadata_props();
    entry.set_key(key);
    entry.set_value(value);
  }
  proto::onnx::Graph& out = *model.mutable_graph();
  out.set_name(options.name);
  describe_value(graph.input, graph.input_shape, *out.add_input());
  describe_value(graph.output, graph.output_shape, *out.add_output());
  for (const GraphNode& node : graph.nodes) write_node(node, *out.add_node());
  for (const GraphConstant& constant : graph.constants) write_constant(constant, *out.add_initializer());
  if (model.ByteSizeLong() > INT_MAX)
    throw UserError(fmt::format("ONNX: a file of {} bytes, want less than 2 GB: export safetensors instead", model.ByteSizeLong()));
  return model.SerializeAsString();
}

}  // namespace lockstep
