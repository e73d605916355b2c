// The graph that is exported, node by node, for a network that uses every op with which a network can be written;
// tests/tools/weights_test.cpp runs exported files in onnxruntime.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "core/philox.h"
#include "cpu/reference/reference_kernels.h"
#include "ops/add.h"
#include "ops/avg_pool.h"
#include "ops/concat.h"
#include "ops/dropout.h"
#include "ops/flatten.h"
#include "ops/linear.h"
#include "ops/relu.h"
#include "proto/onnx.pb.h"
#include "train/checkpoint/safetensors.h"
#include "train/onnx_file.h"

namespace lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Convolutions with and without bias, batch norm that can and can't be folded, every join, a flatten that moves numbers.
class EveryOp final : public Model {
 public:
  explicit EveryOp(DType dtype = DType::kF32) : Model({.name = "every op", .classes = 5, .height = 8, .width = 6, .dtype = dtype}) {
    first_ = make_conv(store(), "first",
                       {.in_channels = 3, .out_channels = 4, .kernel = {3, 3}, .params = {.stride = {1, 2}, .pad = {1, 1}}, .bias = true});
    norm_ = make_norm(store(), "norm", 4, {.eps = 1e-3});
    const Conv2dParams grouped{.pad = {2, 0}, .dilation = {2, 1}, .groups = 2};
    grouped_ = make_conv(store(), "grouped", {.in_channels = 4, .out_channels = 4, .kernel = {3, 1}, .params = grouped});
    late_ = make_norm(store(), "late", 4, {});
    fc_ = make_linear(store(), "fc", 8 * 3 * 2, 5);
    initialise(3);
    for (const Buffer* buffer : buffers()) vary(const_cast<Buffer*>(buffer)->value);
    for (Parameter* parameter : parameters())
      if (parameter->value.shape().rank() == 1) vary(parameter->value);
  }

  Var forward(Context& context, const Var& images) const override {
    OpPass pass(context);
    const Var x = pass.norm_relu(norm_, pass.conv(first_, images));        // (N, 4, 8, 3)
    const Var y = pass.conv(grouped_, x);                                  // read twice: its batch norm stays
    const Var z = pass.norm_add_relu(late_, y, x);
    const Var both[] = {add(context, relu(context, y), z), dropout(context, z, 0.5)};
    const Var joined = concat(context, both);                              // (N, 8, 8, 3)
    const Var pooled = avg_pool(context, joined, {.kernel = {3, 3}, .stride = {3, 2}, .pad = {1, 1}, .count_include_pad = false});
    return pass.linear(fc_, flatten(context, pooled));                     // (N, 8, 3, 2)
  }

 private:
  void trace(ShapePass& pass, const Shape& images) const override { pass.conv(first_, images); }

  // Positive numbers around 1, none of them equal.
  static void vary(Tensor& tensor) {
    RandomStream random({.seed = 4, .a = static_cast<std::uint32_t>(tensor.numel())});
    if (tensor.dtype() == DType::kF64)
      for (double& value : tensor.host<double>()) value = random.uniform(0.5F, 1.5F);
    else
      for (float& value : tensor.host<float>()) value = random.uniform(0.5F, 1.5F);
  }

  ConvLayer first_, grouped_;
  NormLayer norm_, late_;
  LinearLayer fc_;
};

// The ops that EveryOp has no room for: elementwise functions, whole channels, poolings of other sizes, flattening in torch's order.
class MoreOps final : public Model {
 public:
  explicit MoreOps(DType dtype = DType::kF32) : Model({.name = "more ops", .classes = 5, .height = 9, .width = 7, .dtype = dtype}) {
    first_ = make_conv(store(), "first", {.in_channels = 3, .out_channels = 20, .kernel = {3, 3}, .params = {.pad = {1, 1}}, .bias = true});
    fc_ = make_linear(store(), "fc", 20 * 2 * 3, 5);
    initialise(3);
  }

  Var forward(Context& context, const Var& images) const override {
    OpPass pass(context);
    Var x = pass.conv(first_, images);  // (N, 20, 9, 7)
    x = pass.activation("", {Activation::Kind::kLeakyRelu, 0.1}, x);
    x = pass.response_norm("", {.size = 3, .alpha = 0.5, .beta = 0.6, .k = 1.5}, x);
    x = pass.activation("", {Activation::Kind::kTanh}, x);
    x = pass.shift_channels("", 3, pass.shuffle_channels("", 5, x));
    x = pass.max_pool({"", {.kernel = {3, 2}, .stride = {2, 2}, .pad = {1, 0}, .ceil = true}}, x);  // (N, 20, 5, 4)
    x = pass.activation("", {Activation::Kind::kThreshold, 0.2, -0.3}, x);
    x = pass.activation("", {Activation::Kind::kClamp, -0.25, 0.5}, x);
    x = pass.avg_pool({"", {.kernel = {2, 2}, .stride = {2, 2}, .count_include_pad = false, .ceil = true}}, x);  // (N, 20, 3, 2)
    x = pass.activation("", {Activation::Kind::kSigmoid}, pass.adaptive_avg_pool("", {2, 3}, x));
    return pass.logits("", pass.linear(fc_, pass.flatten("", x)));
  }

 private:
  void trace(ShapePass& pass, const Shape& images) const override { pass.conv(first_, images); }

  ConvLayer first_;
  LinearLayer fc_;
};

std::vector<std::string> ops_of(const InferenceGraph& graph) {
  std::vector<std::string> ops;
  for (const GraphNode& node : graph.nodes) ops.push_back(node.op);
  return ops;
}

TEST(OnnxTrace, EveryOpOfANetworkIsANode) {
  const EveryOp model;
  const InferenceGraph graph = trace_inference(model, 8, 6, "input", "logits");
  EXPECT_THAT(ops_of(graph), ElementsAre("Conv", "BatchNormalization", "Relu", "Conv", "BatchNormalization", "Add", "Relu", "Relu", "Add", "Concat",
                                         "AveragePool", "Transpose", "Flatten", "Gemm"));
  EXPECT_EQ(graph.output_shape, Shape({1, 5}));
  EXPECT_EQ(graph.nodes.back().output, "logits");
  EXPECT_THAT(graph.nodes.back().inputs, ElementsAre("flatten.out", "fc.weight", "fc.bias"));
  const GraphNode& norm = graph.nodes[1];
  EXPECT_THAT(norm.inputs, ElementsAre("first.out", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"));
  EXPECT_EQ(std::get<float>(norm.attributes.at("epsilon")), 1e-3F);
}

TEST(OnnxTrace, WhatOnnxHasNoOperatorForIsSeveral) {
  const InferenceGraph graph = trace_inference(MoreOps(), 9, 7, "input", "logits");
  EXPECT_THAT(ops_of(graph), ElementsAre("Conv", "LeakyRelu", "LRN", "Tanh", "Constant", "Reshape", "Transpose", "Constant", "Reshape", "Conv",
                                         "MaxPool", "Greater", "Where", "Clip", "AveragePool", "MatMul", "MatMul", "Sigmoid", "Flatten", "Gemm"));
  EXPECT_EQ(graph.constant("shift.3x20.filters")->extents, (std::vector<std::int64_t>{20, 1, 3, 3}));
  EXPECT_EQ(graph.constant("scalar.0.2")->values, std::vector<float>{0.2F});
}

TEST(OnnxTrace, NamesOfNodesAreUnique) {
  std::set<std::string> names;
  const auto model = make_model({.name = "resnet18", .classes = 3, .height = 32, .width = 32, .base_width = 4});
  model->initialise(1);
  const InferenceGraph graph = trace_inference(*model, 32, 32, "input", "logits");
  for (const GraphNode& node : graph.nodes) EXPECT_TRUE(names.insert(node.name).second) << node.name;
  EXPECT_EQ(names.count("layer1.0.conv1"), 1u);
}

TEST(OnnxTrace, ANameThatALayerHasIsRefusedForTheInput) {
  const EveryOp model;
  EXPECT_THROW(trace_inference(model, 8, 6, "first", "logits"), UserError);
  EXPECT_THROW(trace_inference(model, 8, 6, "input", "fc"), UserError);
}

TEST(OnnxFold, OnlyABatchNormThatAloneReadsAConvolutionGoes) {
  InferenceGraph graph = trace_inference(EveryOp(), 8, 6, "input", "logits");
  const InferenceGraph before = graph;
  fold_batch_norms(graph);
  EXPECT_THAT(ops_of(graph), ElementsAre("Conv", "Relu", "Conv", "BatchNormalization", "Add", "Relu", "Relu", "Add", "Concat", "AveragePool",
                                         "Transpose", "Flatten", "Gemm"));
  EXPECT_EQ(graph.constant("norm.weight"), nullptr);
  EXPECT_NE(graph.constant("late.weight"), nullptr);
  // By the formula, in double.
  const auto value = [&](const char* name, std::size_t i) { return static_cast<double>(before.constant(name)->values[i]); };
  for (std::size_t k = 0; k < 4; ++k) {
    const double scale = value("norm.weight", k) / std::sqrt(value("norm.running_var", k) + static_cast<double>(1e-3F));
    EXPECT_EQ(graph.constant("first.weight")->values[k * 27 + 5], static_cast<float>(value("first.weight", k * 27 + 5) * scale));
    EXPECT_EQ(graph.constant("first.bias")->values[k],
              static_cast<float>((value("first.bias", k) - value("norm.running_mean", k)) * scale + value("norm.bias", k)));
  }
}

TEST(OnnxFold, AResNetHasNoBatchNormLeft) {
  const auto model = make_model({.name = "resnet50", .classes = 3, .height = 32, .width = 32, .base_width = 2});
  model->initialise(1);
  InferenceGraph graph = trace_inference(*model, 32, 32, "input", "logits");
  EXPECT_EQ(std::ranges::count(graph.nodes, "BatchNormalization", &GraphNode::op), 53);
  fold_batch_norms(graph);
  EXPECT_EQ(std::ranges::count(graph.nodes, "BatchNormalization", &GraphNode::op), 0);
  EXPECT_EQ(std::ranges::count(graph.nodes, "Conv", &GraphNode::op), 53);
  EXPECT_NE(graph.constant("layer1.0.downsample.0.bias"), nullptr);
}

TEST(OnnxFile, SaysWhatItIsAndIsTheSameEveryTime) {
  const EveryOp model;
  const InferenceGraph graph = trace_inference(model, 8, 6, "input", "logits");
  const OnnxOptions options{.opset = 17, .name = "g", .producer = "1", .metadata = {{"mean", "0.5"}}};
  const std::string bytes = onnx_bytes(graph, options);
  EXPECT_EQ(bytes, onnx_bytes(graph, options));
  proto::onnx::Model file;
  ASSERT_TRUE(file.ParseFromString(bytes));
  EXPECT_EQ(file.ir_version(), 8);
  EXPECT_EQ(file.opset_import(0).version(), 17);
  EXPECT_EQ(file.metadata_props(0).value(), "0.5");
  EXPECT_EQ(file.graph().input(0).type().tensor_type().shape().dim(0).dim_param(), "N");
  EXPECT_EQ(file.graph().output(0).type().tensor_type().shape().dim(1).dim_value(), 5);
  EXPECT_EQ(file.graph().initializer(0).raw_data().size(), 4u * 3 * 3 * 3 * sizeof(float));
}

// onnxruntime computes what the reference kernels compute; exact to rounding, because the weights of this network are few.
TEST(OnnxFile, OnnxruntimeAgreesForEveryOp) {
  const char* chosen = std::getenv("LOCKSTEP_PYTHON");
  const std::string python = chosen != nullptr ? chosen : "python3";
  if (std::system((python + " -c 'import onnx, onnxruntime, safetensors.numpy' >/dev/null 2>&1").c_str()) != 0)
    GTEST_SKIP() << "no Python with onnx, onnxruntime and safetensors (set LOCKSTEP_PYTHON)";
  std::string name = (std::filesystem::temp_directory_path() / "lockstep-onnx-XXXXXX").string();
  const std::filesystem::path folder = mkdtemp(name.data());
  const auto check = [&](const Model& model, DType dtype) {
    const int height = model.options().height, width = model.options().width;
    InferenceGraph graph = trace_inference(model, height, width, "input", "logits");
    for (const std::string file : {"kept.onnx", "folded.onnx"}) {
      std::ofstream(folder / file, std::ios::binary) << onnx_bytes(graph, {.name = model.name()});
      fold_batch_norms(graph);
    }
    Tensor images = Tensor::empty({3, 3, height, width}, dtype), narrow = Tensor::empty(images.shape(), DType::kF32);
    RandomStream random({.seed = 5});
    for (float& value : narrow.host<float>()) value = random.uniform(-2, 2);
    const auto kernels = make_reference_kernels();
    kernels->convert({}, narrow, images);
    Context context{.kernels = *kernels};
    const Tensor logits = model.forward(context, Var{images, -1}).value;
    Tensor narrow_logits = Tensor::empty(logits.shape(), DType::kF32);
    kernels->convert({}, logits, narrow_logits);
    std::filesystem::remove(folder / "ours.safetensors");
    const std::vector<NamedTensor> tensors{{"input", narrow}, {"logits", narrow_logits}};
    write_safetensors(posix_fs(), folder / "ours.safetensors", views_of(tensors), {});
    const std::string script = std::string(std::getenv("LOCKSTEP_SOURCE_DIR")) + "/tests/tools/check_onnx.py";
    const std::string command = fmt::format("{} {} {} {} {}", python, script, (folder / "ours.safetensors").string(), (folder / "kept.onnx").string(),
                                            (folder / "folded.onnx").string());
    EXPECT_EQ(std::system(command.c_str()), 0);
  };
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    check(EveryOp(dtype), dtype);
    check(MoreOps(dtype), dtype);
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace lockstep
