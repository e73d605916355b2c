// The backend that writes down what a forward pass asks for. Values are known by their address: a tensor's memory may be given
// to a later one, so an address always means what was last written there.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "core/error.h"
#include "core/rehearsal.h"
#include "train/inference_kernels.h"
#include "train/onnx_graph.h"

namespace lockstep {
namespace {

using Ints = std::vector<std::int64_t>;

Ints ints(Pair pair) { return {pair.h, pair.w}; }
Ints pads(Pair pad) { return {pad.h, pad.w, pad.h, pad.w}; }  // begins, then ends

class GraphRecorder final : public InferenceKernels {
 public:
  GraphRecorder(const Model& model, InferenceGraph& graph) : graph_(graph) {
    for (const Parameter* parameter : model.parameters()) {
      constants_[parameter->value.ptr()] = parameter->name;
      if (parameter->compute) constants_[parameter->compute.ptr()] = parameter->name;
    }
    for (const Buffer* buffer : model.buffers()) constants_[buffer->value.ptr()] = buffer->name;
  }

  std::string_view name() const override { return "onnx export"; }
  void begin(const Tensor& images) { set(images, graph_.input); }

  // The name of what a tensor holds now; reshapes it if it is seen under another shape than it was written with.
  std::string value_of(const ConstView& view) {
    const auto found = values_.find(view.ptr);
    if (found == values_.end()) throw UserError("ONNX export: the network reads a part of a tensor, for which there is no operator here");
    if (found->second.shape == view.shape) return found->second.name;
    return flattened(found->second, view.shape);
  }

  void conv2d_forward(Stream, ConstView x, ConstView w, ConstView bias, const Conv2dParams& params, View y) override {
    convolution(value_of(x), w, bias, params, y);
  }

  void norm_conv2d_forward(Stream, ConstView x, const NormVectors& norm, ConstView w, const Conv2dParams& params, View y) override {
    const std::string layer = layer_of(constant(norm.gamma));
    const std::string activation = emit(layer + ".relu", "Relu", {normalised(value_of(x), norm)}, {});
    convolution(activation, w, {}, params, y);
  }

  void batch_norm_inv_std(Stream, ConstView variance, double count, double eps, View inv_std, View) override {
    LS_CHECK(count == 1, "ONNX export: batch norm with a batch's statistics");
    inv_stds_[inv_std.ptr] = {constant(variance), static_cast<float>(eps)};
  }

  void batch_norm_apply(Stream, ConstView x, const NormVectors& norm, ConstView residual, bool relu, View y, View) override {
    const std::string layer = layer_of(constant(norm.gamma));
    std::string value = normalised(value_of(x), norm);
    if (residual) value = emit(layer + ".add", "Add", {value, value_of(residual)}, {});
    if (relu) value = emit(layer + ".relu", "Relu", {value}, {});
    set(y, value);
  }

  void relu_forward(Stream, ConstView x, View y) override { set(y, emit("relu", "Relu", {value_of(x)}, {})); }
  void add(Stream, ConstView a, ConstView b, View y) override { set(y, emit("add", "Add", {value_of(a), value_of(b)}, {})); }

  void max_pool_forward(Stream, ConstView x, const Pool2dParams& params, View y, View) override {
    set(y, emit("maxpool", "MaxPool", {value_of(x)},
                {{"kernel_shape", ints(params.kernel)}, {"strides", ints(params.stride)}, {"pads", pads(params.pad)}}));
  }
  void avg_pool_forward(Stream, ConstView x, const Pool2dParams& params, View y) override {
    set(y, emit("avgpool", "AveragePool", {value_of(x)},
                {{"kernel_shape", ints(params.kernel)},
                 {"strides", ints(params.stride)},
                 {"pads", pads(params.pad)},
                 {"count_include_pad", std::int64_t{params.count_include_pad}}}));
  }
  void global_avg_pool_forward(Stream, ConstView x, View y) override {
    const std::string mean = emit("avgpool", "GlobalAveragePool", {value_of(x)}, {});
    set(y, emit("flatten", "Flatten", {mean}, {{"axis", std::int64_t{1}}}));
  }

  void linear_forward(Stream, ConstView x, ConstView w, ConstView bias, View y) override {
    std::vector<std::string> inputs{value_of(x), constant(w)};
    if (bias) inputs.push_back(constant(bias));
    set(y, emit(layer_of(constant(w)), "Gemm", std::move(inputs), {{"transB", std::int64_t{1}}}));
  }

  // Parts come in the order of their channels; the last completes the tensor.
  void copy_channels(Stream, ConstView src, std::int64_t src_begin, View dst, std::int64_t dst_begin, std::int64_t count, GradMode) override {
    std::vector<std::string>& parts = parts_[dst.ptr];
    if (dst_begin == 0) parts.clear();
    if (src_begin != 0 || count != src.shape[1]) throw UserError("ONNX export: the network splits channels, for which there is no operator here");
    parts.push_back(value_of(src));
    if (dst_begin + count == dst.shape[1]) set(dst, emit("concat", "Concat", parts, {{"axis", std::int64_t{1}}}));
  }

 private:
  struct Value {
    std::string name;
    Shape shape;
  };
  struct InvStd {
    std::string variance;
    float eps;
  };
  using Attributes = decltype(GraphNode::attributes);

  static std::string layer_of(const std::string& constant) { return constant.substr(0, constant.rfind('.')); }

  const std::string& constant(const ConstView& view) const {
    const auto found = constants_.find(view.ptr);
    if (found == constants_.end()) throw UserError("ONNX export: the network computes a weight, for which there is no operator here");
    return found->second;
  }

  void set(const ConstView& view, const std::string& name) { values_[view.ptr] = {name, view.shape}; }

  // Appends a node and returns the name of its value.
  std::string emit(const std::string& wanted, const char* op, std::vector<std::string> inputs, Attributes attributes) {
    std::string name = wanted;
    for (int i = 2; !names_.insert(name).second; ++i) name = fmt::format("{}_{}", wanted, i);
    graph_.nodes.push_back({name, op, std::move(inputs), name + ".out", std::move(attributes)});
    return graph_.nodes.back().output;
  }

  void convolution(const std::string& x, ConstView w, ConstView bias, const Conv2dParams& params, View y) {
    std::vector<std::string> inputs{x, constant(w)};
    if (bias) inputs.push_back(constant(bias));
    set(y, emit(layer_of(constant(w)), "Conv", std::move(inputs),
                {{"kernel_shape", Ints{w.shape[2], w.shape[3]}},
                 {"strides", ints(params.stride)},
                 {"pads", pads(params.pad)},
                 {"dilations", ints(params.dilation)},
                 {"group", std::int64_t{params.groups}}}));
  }

  std::string normalised(const std::string& x, const NormVectors& norm) {
    const auto found = inv_stds_.find(norm.inv_std.ptr);
    LS_CHECK(found != inv_stds_.end(), "ONNX export: batch norm with an unknown deviation");
    const std::string& gamma = constant(norm.gamma);
    return emit(layer_of(gamma), "BatchNormalization", {x, gamma, constant(norm.beta), constant(norm.mean), found->second.variance},
                {{"epsilon", found->second.eps}});
  }

  // (N, C, H, W) as (N, C * H * W): ours lies in the order h, w, c, ONNX's would be c, h, w.
  std::string flattened(const Value& value, const Shape& shape) {
    const Shape& from = value.shape;
    if (from.rank() != 4 || shape.rank() != 2 || shape[0] != from[0] || shape[1] != from[1] * from[2] * from[3])
      throw UserError(fmt::format("ONNX export: the network views {} as {}, for which there is no operator here", from.str(), shape.str()));
    std::string x = value.name;
    if (from[1] != 1 && from[2] * from[3] != 1) x = emit("channels_last", "Transpose", {x}, {{"perm", Ints{0, 2, 3, 1}}});
    return emit("flatten", "Flatten", {x}, {{"axis", std::int64_t{1}}});
  }

  InferenceGraph& graph_;
  std::unordered_map<const void*, std::string> constants_;
  std::unordered_map<const void*, Value> values_;
  std::unordered_map<const void*, InvStd> inv_stds_;
  std::unordered_map<const void*, std::vector<std::string>> parts_;
  std::set<std::string> names_;
};

GraphConstant constant_of(const std::string& name, const Tensor& tensor) {
  GraphConstant constant{.name = name, .extents = {}, .values = std::vector<float>(static_cast<std::size_t>(tensor.numel()))};
  for (int axis = 0; axis < tensor.shape().rank(); ++axis) constant.extents.push_back(tensor.shape()[axis]);
  if (tensor.dtype() == DType::kF64) {
    std::vector<double> wide(constant.values.size());
    channels_last_to_row_major(tensor.ptr(), wide.data(), tensor.shape(), sizeof(double));
    std::ranges::transform(wide, constant.values.begin(), [](double value) { return static_cast<float>(value); });
  } else {
    detail::check_dtype(tensor.dtype(), DType::kF32);
    channels_last_to_row_major(tensor.ptr(), constant.values.data(), tensor.shape(), sizeof(float));
  }
  return constant;
}

void add_constants(const Model& model, InferenceGraph& graph) {
  std::set<std::string> used;
  for (const GraphNode& node : graph.nodes) used.insert(node.inputs.begin(), node.inputs.end());
  const auto add = [&](const auto* entry) {
    if (used.count(entry->name) > 0) graph.constants.push_back(constant_of(entry->name, entry->value));
  };
  std::ranges::for_each(model.parameters(), add);
  std::ranges::for_each(model.buffers(), add);
}

}  // namespace

const GraphConstant* InferenceGraph::constant(const std::string& name) const {
  const auto found = std::ranges::find(constants, name, &GraphConstant::name);
  return found == constants.end() ? nullptr : &*found;
}

InferenceGraph trace_inference(const Model& model, int height, int width, const std::string& input, const std::string& output) {
  InferenceGraph graph;
  graph.input = input;
  graph.input_shape = {1, model.options().channels, height, width};
  model.check_input(graph.input_shape);
  GraphRecorder recorder(model, graph);
  std::string logits;
  {
    const Rehearsal nothing_is_computed;
    Context context{.kernels = recorder};
    const DType dtype = model.parameters().front()->operand().dtype();  // a convolution's, as are the images
    const Var images{Tensor::empty(graph.input_shape, dtype), -1};
    recorder.begin(images.value);
    const Var y = model.forward(context, images);
    graph.output_shape = y.value.shape();
    logits = recorder.value_of(y.value);
  }
  LS_CHECK(!graph.nodes.empty() && graph.nodes.back().output == logits, "ONNX export: the logits are not the last value");
  for (const GraphNode& node : graph.nodes)
    for (const std::string& taken : {node.name, node.output})
      if (taken == input || taken == output)
        throw UserError(fmt::format("ONNX export: '{}' is the name of a layer, want another for the graph's input and output", taken));
  graph.nodes.back().output = graph.output = output;
  add_constants(model, graph);
  return graph;
}

}  // namespace lockstep
