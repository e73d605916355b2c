// SPDX-License-Identifier: Apache-2.0
#include "train/trace_ops.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "train/bench_stats.h"

namespace lockstep {

std::string_view op_class_name(OpClass op_class) {
  switch (op_class) {
    case OpClass::kConvolution: return "convolution";
    case OpClass::kNormConvolution: return "norm + convolution";
    case OpClass::kMatmul: return "matmul";
    case OpClass::kNorm: return "batch norm";
    case OpClass::kElementwise: return "elementwise";
    case OpClass::kPooling: return "pooling";
    case OpClass::kLoss: return "loss";
    case OpClass::kInput: return "input";
    case OpClass::kOptimizer: return "optimizer";
  }
  return "?";
}

std::string OpCall::shape_text() const {
  if (shape_count == 0) return "";
  std::string text = shapes[0].str();
  if (shape_count > 1) text += " * " + shapes[1].str();
  if (is_convolution(op_class) && (conv.stride.h > 1 || conv.stride.w > 1)) text += " stride " + std::to_string(conv.stride.h);
  return text;
}

bool OpCall::same_work(const OpCall& other) const {
  return std::strcmp(name, other.name) == 0 && dtype == other.dtype && shape_count == other.shape_count && shapes == other.shapes &&
         conv == other.conv && std::strcmp(variant, other.variant) == 0;
}

std::int64_t OpLog::add(const OpCall& call) {
  if (calls_.size() == calls_.capacity()) {
    ++dropped_;
    return -1;
  }
  calls_.push_back(call);
  return static_cast<std::int64_t>(calls_.size()) - 1;
}

double conv_flops(const Shape& w, const Shape& y) {
  return 2.0 * static_cast<double>(y.numel()) * static_cast<double>(w[1] * w[2] * w[3]);
}

std::vector<OpGroup> group_ops(const OpLog& log, const std::vector<std::size_t>& steps) {
  std::vector<OpGroup> groups;
  for (std::size_t step = 0; step < steps.size(); ++step) {
    const std::size_t end = step + 1 < steps.size() ? steps[step + 1] : log.calls().size();
    for (std::size_t i = steps[step]; i < end; ++i) {
      const OpCall& call = log.calls()[i];
      auto group = std::find_if(groups.begin(), groups.end(), [&](const OpGroup& each) { return each.call.same_work(call); });
      if (group == groups.end()) group = groups.insert(group, {call, 0, std::vector<double>(steps.size()), 0});
      group->step_ms[step] += call.ms();
      ++group->calls;
    }
  }
  for (OpGroup& group : groups) {
    group.calls /= static_cast<std::int64_t>(steps.size());
    group.median_ms = spread_of(group.step_ms).median;
  }
  return groups;
}

}  // namespace lockstep
