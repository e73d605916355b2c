// The backend that writes down what a forward pass asks for. Values are known by their address: a tensor's memory may be given
// to a later one, so an address always means what was last written there.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "core/error.h"
#include "core/rehearsal.h"
#include "ops/shift_channels.h"
#include "train/inference_kernels.h"
#include "train/onnx_graph.h"

namespace lockstep {
namespace {

using Ints = std::vector<std::int64_t>;

Ints ints(Pair pair) { return {pair.h, pair.w}; }
Ints pads(Pair pad) { return {pad.h, pad.w, pad.h, pad.w}; }  // begins, then ends

// A pooling's padding with ends so large that ONNX's count of windows, rounded down, is ours rounded up: so no reader's idea of
// ceil_mode matters.
Ints pads_to_fit(const Pool2dParams& params, const Shape& x, const Shape& y) {
  const auto end = [](std::int64_t count, std::int64_t extent, int kernel, int stride, int pad) {
    return std::max<std::int64_t>(pad, (count - 1) * stride + kernel - extent - pad);
  };
  return {params.pad.h, params.pad.w, end(y[2], x[2], params.kernel.h, params.stride.h, params.pad.h),
          end(y[3], x[3], params.kernel.w, params.stride.w, params.pad.w)};
}

// (C, 1, k, k): the depthwise filters that move channels as a shift does: a one where each channel reads.
std::vector<float> shift_filters(std::int64_t channels, int kernel) {
  const std::int64_t area = std::int64_t{kernel} * kernel, half = kernel / 2;
  std::vector<float> filters(static_cast<std::size_t>(channels * area));
  for (std::int64_t i = 0; i < area; ++i) {
    const ShiftGroup group = shift_group({.kernel = kernel}, channels, i);
    for (std::int64_t c = group.begin; c < group.begin + group.count; ++c)
      filters[static_cast<std::size_t>(c * area + (half + group.down) * kernel + half + group.right)] = 1;
  }
  return filters;
}

// (count, extent), or transposed: row p holds the shares of adaptive pooling's window p.
std::vector<float> window_shares(std::int64_t count, std::int64_t extent, bool transposed) {
  std::vector<float> shares(static_cast<std::size_t>(count * extent));
  for (std::int64_t p = 0; p < count; ++p) {
    const std::int64_t begin = p * extent / count, end = ((p + 1) * extent + count - 1) / count;
    for (std::int64_t i = begin; i < end; ++i)
      shares[static_cast<std::size_t>(transposed ? i * count + p : p * extent + i)] = 1.0F / static_cast<float>(end - begin);
  }
  return shares;
}

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

  // What an evaluation in 16 bits converts is a float throughout the file.
  void convert(Stream, ConstView x, View y) override { set(y, value_of(x)); }

  void activation_forward(Stream, ConstView x, const Activation& function, View y) override {
    const auto constant = [&](double value) { return scalar(static_cast<float>(value)); };
    const std::string in = value_of(x);
    switch (function.kind) {
      case Activation::Kind::kLeakyRelu: return set(y, emit("leaky_relu", "LeakyRelu", {in}, {{"alpha", static_cast<float>(function.a)}}));
      case Activation::Kind::kTanh: return set(y, emit("tanh", "Tanh", {in}, {}));
      case Activation::Kind::kSigmoid: return set(y, emit("sigmoid", "Sigmoid", {in}, {}));
      case Activation::Kind::kThreshold: {
        const std::string passes = emit("threshold.passes", "Greater", {in, constant(function.a)}, {});
        return set(y, emit("threshold", "Where", {passes, in, constant(function.b)}, {}));
      }
      case Activation::Kind::kClamp: return set(y, emit("clip", "Clip", {in, constant(function.a), constant(function.b)}, {}));
    }
  }

  void response_norm_forward(Stream, ConstView x, const ResponseNorm& params, View y) override {
    if (params.size % 2 == 0)
      throw UserError(fmt::format("ONNX export: response norm over {} channels, want an odd number: ONNX places even windows elsewhere",
                                  params.size));
    set(y, emit("response_norm", "LRN", {value_of(x)},
                {{"size", std::int64_t{params.size}},
                 {"alpha", static_cast<float>(params.alpha)},
                 {"beta", static_cast<float>(params.beta)},
                 {"bias", static_cast<float>(params.k)}}));
  }

  void shuffle_channels(Stream, ConstView x, int groups, View y, GradMode) override {
    const auto image = values_.find(x.ptr);
    if (image != values_.end() && is_transposed(image->second.shape, x.shape, groups)) {  // ops/flatten_chw.h
      values_[y.ptr] = {emit("flatten", "Flatten", {image->second.name}, {{"axis", std::int64_t{1}}}), {x.shape[0], x.shape[1]}};
      return;
    }
    const std::int64_t channels = x.shape[1], pixels = x.shape[2] * x.shape[3];
    std::string value = emit("shuffle.groups", "Reshape", {value_of(x), integers({0, groups, channels / groups, pixels})}, {});
    value = emit("shuffle.transpose", "Transpose", {value}, {{"perm", Ints{0, 2, 1, 3}}});
    set(y, emit("shuffle", "Reshape", {value, integers({0, channels, x.shape[2], x.shape[3]})}, {}));
  }

  void shift_channels(Stream, ConstView x, const ChannelShift& shift, View y, GradMode) override {
    const std::int64_t channels = x.shape[1], kernel = shift.kernel, pad = kernel / 2;
    const std::string filters =
        made(fmt::format("shift.{}x{}.filters", kernel, channels), {channels, 1, kernel, kernel}, shift_filters(channels, shift.kernel));
    set(y, emit("shift", "Conv", {value_of(x), filters},
                {{"kernel_shape", Ints{kernel, kernel}}, {"pads", Ints{pad, pad, pad, pad}}, {"group", channels}}));
  }

  void max_pool_forward(Stream, ConstView x, const Pool2dParams& params, View y, View) override {
    set(y, emit("maxpool", "MaxPool", {value_of(x)},
                {{"kernel_shape", ints(params.kernel)}, {"strides", ints(params.stride)}, {"pads", pads_to_fit(params, x.shape, y.shape)}}));
  }
  void avg_pool_forward(Stream, ConstView x, const Pool2dParams& params, View y) override {
    const Ints padding = pads_to_fit(params, x.shape, y.shape);
    if (params.count_include_pad && padding != pads(params.pad))
      throw UserError("ONNX export: average pooling that counts its padding and reaches beyond it, for which there is no operator here");
    set(y, emit("avgpool", "AveragePool", {value_of(x)},
                {{"kernel_shape", ints(params.kernel)},
                 {"strides", ints(params.stride)},
                 {"pads", padding},
                 {"count_include_pad", std::int64_t{params.count_include_pad}}}));
  }
  // Equal windows are ordinary pooling; others are shares of rows, then of columns.
  void adaptive_avg_pool_forward(Stream, ConstView x, View y) override {
    const std::int64_t height = x.shape[2], width = x.shape[3], rows = y.shape[2], columns = y.shape[3];
    const std::string in = value_of(x);
    if (height % rows == 0 && width % columns == 0) {
      const Ints window{height / rows, width / columns};
      return set(y, emit("avgpool", "AveragePool", {in}, {{"kernel_shape", window}, {"strides", window}}));
    }
    const std::string across = made(fmt::format("avgpool.{}to{}.columns", width, columns), {width, columns}, window_shares(columns, width, true));
    const std::string down = made(fmt::format("avgpool.{}to{}.rows", height, rows), {rows, height}, window_shares(rows, height, false));
    set(y, emit("avgpool", "MatMul", {down, emit("avgpool.columns", "MatMul", {in, across}, {})}, {}));
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

  // Constants that no parameter holds, in the order in which they were needed.
  const std::vector<GraphConstant>& made_constants() const { return made_; }

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

  static bool is_transposed(const Shape& image, const Shape& x, int groups) {
    return image.rank() == 4 && image != x && x == Shape{image[0], image[1] * image[2] * image[3], 1, 1} && groups == image[2] * image[3];
  }

  // The name of a constant that is made once.
  std::string made(const std::string& name, Ints extents, std::vector<float> values) {
    if (std::ranges::find(made_, name, &GraphConstant::name) == made_.end()) made_.push_back({name, std::move(extents), std::move(values)});
    return name;
  }
  std::string scalar(float value) { return made(fmt::format("scalar.{}", value), {}, {value}); }
  std::string integers(const Ints& values) { return emit("shape", "Constant", {}, {{"value_ints", values}}); }

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
  std::vector<GraphConstant> made_;
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
  graph.constants.insert(graph.constants.end(), recorder.made_constants().begin(), recorder.made_constants().end());
  return graph;
}

}  // namespace lockstep
