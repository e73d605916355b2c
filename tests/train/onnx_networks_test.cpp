// Every network of the zoo as an ONNX graph: whole, and computing our logits in onnxruntime.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "core/philox.h"
#include "cpu/fast/fast_kernels.h"
#include "models/zoo.h"
#include "tests/models/support.h"
#include "train/checkpoint/safetensors.h"
#include "train/onnx_file.h"

namespace lockstep {
namespace {

constexpr int kClasses = 5;

// Narrow, with images about as small as the network takes; their height and width differ. Weights that keep activations in size.
std::unique_ptr<Model> narrow_network(const ZooEntry& entry) {
  ModelOptions options{.name = std::string(entry.name), .classes = kClasses, .height = 36, .width = 40};
  if (entry.name == "inception_v3") options.height = 75, options.width = 91;
  if (entry.name.starts_with("alexnet")) options.height = 67, options.width = 83;  // pooled to more pixels than there are
  if ((entry.choices & kChoiceBaseWidth) != 0) options.base_width = 8;
  if ((entry.choices & kChoiceWidthMultiplier) != 0) options.width_multiplier = 0.25;
  auto model = make_model(options);
  test::set_fan_in_weights(*model);
  return model;
}

// Every input is the graph's, a constant, or made by an earlier node; every constant is used, every name unique.
void expect_whole(const InferenceGraph& graph) {
  std::set<std::string> values{graph.input}, names, used;
  for (const GraphConstant& constant : graph.constants) {
    EXPECT_TRUE(values.insert(constant.name).second) << constant.name;
    std::int64_t elements = 1;
    for (const std::int64_t extent : constant.extents) elements *= extent;
    EXPECT_EQ(static_cast<std::size_t>(elements), constant.values.size()) << constant.name;
  }
  for (const GraphNode& node : graph.nodes) {
    EXPECT_TRUE(names.insert(node.name).second) << node.name;
    for (const std::string& input : node.inputs) EXPECT_TRUE(values.contains(input)) << node.name << " reads " << input;
    used.insert(node.inputs.begin(), node.inputs.end());
    EXPECT_TRUE(values.insert(node.output).second) << node.output;
  }
  for (const GraphConstant& constant : graph.constants) EXPECT_TRUE(used.contains(constant.name)) << constant.name;
  EXPECT_TRUE(values.contains(graph.output));
  EXPECT_EQ(graph.output_shape, Shape({1, kClasses}));
}

TEST(OnnxNetworks, EveryNetworkIsAWholeGraphAlsoWhenFolded) {
  for (const ZooEntry& entry : zoo()) {
    SCOPED_TRACE(entry.name);
    const auto model = narrow_network(entry);
    InferenceGraph graph = trace_inference(*model, model->options().height, model->options().width, "input", "logits");
    expect_whole(graph);
    fold_batch_norms(graph);
    expect_whole(graph);
  }
}

TEST(OnnxNetworks, OnnxruntimeComputesOurLogitsOfEveryNetwork) {
  const char* chosen = std::getenv("LOCKSTEP_PYTHON");
  const std::string python = chosen != nullptr ? chosen : "python3";
  if (std::system((python + " -c 'import onnx, onnxruntime, safetensors.numpy' >/dev/null 2>&1").c_str()) != 0)
    GTEST_SKIP() << "no Python with onnx, onnxruntime and safetensors (set LOCKSTEP_PYTHON)";
  std::string pattern = (std::filesystem::temp_directory_path() / "lockstep-onnx-XXXXXX").string();
  const std::filesystem::path folder = mkdtemp(pattern.data());
  std::string command = fmt::format("{} {}/tests/tools/check_onnx.py", python, std::getenv("LOCKSTEP_SOURCE_DIR"));
  const auto kernels = make_fast_kernels(1);
  for (const ZooEntry& entry : zoo()) {
    const auto model = narrow_network(entry);
    const int height = model->options().height, width = model->options().width;
    const std::string base = (folder / std::string(entry.name)).string();
    InferenceGraph graph = trace_inference(*model, height, width, "input", "logits");
    std::ofstream(base + ".onnx", std::ios::binary) << onnx_bytes(graph, {.name = std::string(entry.name)});
    fold_batch_norms(graph);
    std::ofstream(base + ".folded.onnx", std::ios::binary) << onnx_bytes(graph, {.name = std::string(entry.name)});
    Tensor images = Tensor::empty({2, 3, height, width}, DType::kF32);
    RandomStream random({.seed = 5});
    for (float& value : images.host<float>()) value = random.uniform(-2, 2);
    Context context{.kernels = *kernels};
    const std::vector<NamedTensor> tensors{{"input", images}, {"logits", model->forward(context, Var{images, -1}).value}};
    write_safetensors(posix_fs(), base + ".safetensors", views_of(tensors), {});
    command += fmt::format(" {0}.safetensors {0}.onnx {0}.folded.onnx", base);
  }
  EXPECT_EQ(std::system(command.c_str()), 0);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace lockstep
