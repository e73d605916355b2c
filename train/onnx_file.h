// ONNX files: an InferenceGraph as the bytes that onnxruntime and others read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "train/onnx_graph.h"

namespace lockstep {

struct OnnxOptions {
  int opset = 17;  // kOnnxOldestOpset to kOnnxNewestOpset
  std::string name;      // of the graph
  std::string producer;  // version of the program that wrote it
  std::map<std::string, std::string> metadata;
};

// In these the operators that we use mean the same.
inline constexpr int kOnnxOldestOpset = 15, kOnnxNewestOpset = 20;

// A float model whose batch is any number "N". The same graph and options give the same bytes. UserError when it would exceed
// protobuf's 2 GB.
std::string onnx_bytes(const InferenceGraph& graph, const OnnxOptions& options);

}  // namespace lockstep
