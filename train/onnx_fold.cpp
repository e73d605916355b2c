// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "train/onnx_graph.h"

namespace lockstep {
namespace {

GraphConstant& constant_named(InferenceGraph& graph, const std::string& name) {
  const auto found = std::ranges::find(graph.constants, name, &GraphConstant::name);
  LS_CHECK(found != graph.constants.end(), "ONNX export: no constant " + name);
  return *found;
}

// conv(x) * s + (beta - mean * s), s = gamma / sqrt(var + eps): a convolution with weight w * s and bias (b - mean) * s + beta.
void fold(InferenceGraph& graph, GraphNode& conv, const GraphNode& norm) {
  const auto vector = [&](std::size_t i) -> const std::vector<float>& { return constant_named(graph, norm.inputs[i]).values; };
  const std::vector<float>&gamma = vector(1), &beta = vector(2), &mean = vector(3), &variance = vector(4);
  const double eps = std::get<float>(norm.attributes.at("epsilon"));
  const bool has_bias = conv.inputs.size() > 2;
  const std::string bias_name = has_bias ? conv.inputs[2] : conv.name + ".bias";
  GraphConstant bias{bias_name, {static_cast<std::int64_t>(gamma.size())}, std::vector<float>(gamma.size())};
  GraphConstant& weight = constant_named(graph, conv.inputs[1]);
  const std::size_t filter = weight.values.size() / gamma.size();
  for (std::size_t k = 0; k < gamma.size(); ++k) {
    const double scale = gamma[k] / std::sqrt(variance[k] + eps);
    const double before = has_bias ? constant_named(graph, bias_name).values[k] : 0;
    bias.values[k] = static_cast<float>((before - mean[k]) * scale + beta[k]);
    for (std::size_t i = k * filter; i < (k + 1) * filter; ++i) weight.values[i] = static_cast<float>(weight.values[i] * scale);
  }
  conv.output = norm.output;
  if (has_bias) {
    constant_named(graph, bias_name) = std::move(bias);
  } else {
    conv.inputs.push_back(bias_name);
    graph.constants.insert(std::ranges::find(graph.constants, conv.inputs[1], &GraphConstant::name) + 1, std::move(bias));
  }
}

}  // namespace

void fold_batch_norms(InferenceGraph& graph) {
  std::unordered_map<std::string, int> uses;  // of values and of constants
  for (const GraphNode& node : graph.nodes)
    for (const std::string& input : node.inputs) ++uses[input];
  std::set<std::string> folded;  // names of nodes
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const GraphNode& norm = graph.nodes[i];
    if (norm.op != "BatchNormalization" || uses[norm.inputs[0]] != 1) continue;
    const auto conv = std::ranges::find(graph.nodes, norm.inputs[0], &GraphNode::output);
    if (conv == graph.nodes.end() || conv->op != "Conv" || uses[conv->inputs[1]] != 1) continue;  // a weight used twice stays
    if (conv->inputs.size() > 2 && uses[conv->inputs[2]] != 1) continue;
    fold(graph, *conv, norm);
    folded.insert(norm.name);
  }
  std::erase_if(graph.nodes, [&](const GraphNode& node) { return folded.count(node.name) > 0; });
  std::set<std::string> used;
  for (const GraphNode& node : graph.nodes) used.insert(node.inputs.begin(), node.inputs.end());
  std::erase_if(graph.constants, [&](const GraphConstant& constant) { return used.count(constant.name) == 0; });
}

}  // namespace lockstep
