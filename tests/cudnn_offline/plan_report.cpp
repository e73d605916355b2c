// SPDX-License-Identifier: Apache-2.0
#include "tests/cudnn_offline/plan_report.h"

#include <array>
#include <map>
#include <optional>

#include "tests/cudnn_offline/recorded_problems.h"
#include "tests/emulated/conv_engine.h"

namespace lockstep::cuda {
namespace {

using cudnn::ConvGraph;
using cudnn::Heuristic;
using cudnn::PlanDevice;

struct Workload {
  ModelOptions model;
  std::int64_t batch;
  bool in_ci;
};

std::vector<Workload> workloads() {
  const ModelOptions imagenet{}, cifar{.name = "resnet20", .classes = 10, .height = 32, .width = 32};
  ModelOptions resnet18 = imagenet;
  resnet18.name = "resnet18";
  const ModelOptions fashion{.name = "resnet14", .classes = 10, .channels = 1, .height = 28, .width = 28};
  return {{imagenet, 256, true}, {imagenet, 32, false}, {resnet18, 256, false}, {cifar, 64, true}, {fashion, 32, true}};
}

struct Precision {
  const char* name;
  DType dtype;
  bool tf32;
};
constexpr std::array<Precision, 4> kPrecisions{{{"f16", DType::kF16, false}, {"bf16", DType::kBF16, false}, {"tf32", DType::kF32, true},
                                                {"f32", DType::kF32, false}}};

// What the product's engine would take (cuda/cudnn/conv_engine.cpp, without timing).
struct Planned {
  std::optional<std::string> choice;
  std::string reason, notes;
  std::size_t workspace_bytes = 0;
  std::string passed_over;  // cuDNN's first engine and what is noted about it, if it was not taken
};

std::string engine_of(const std::string& choice) { return choice.substr(0, choice.find('_')); }

int index_of(const ConvGraph& graph, const std::string& choice) {
  int index = 0;
  while (graph.proposal(index) != choice) ++index;
  return index;
}

Planned plan(const ConvProblem& problem, const PlanDevice& device) {
  ConvGraph graph(problem, device);
  for (const Heuristic heuristic : {Heuristic::kA, Heuristic::kFallback}) {
    if (!graph.propose(std::span(&heuristic, 1)) || !graph.build_first()) continue;
    Planned result{graph.choice(), {}, graph.notes(index_of(graph, graph.choice())), graph.workspace_bytes(), {}};
    if (graph.proposal(0) != graph.choice())
      result.passed_over = engine_of(graph.proposal(0)) + " (" + (graph.acceptable(0) ? "can't be built" : graph.notes(0)) + ")";
    return result;
  }
  return {std::nullopt, graph.reason(), {}, 0, {}};
}

std::string cell(const Planned& planned) {
  if (!planned.choice) return "-";
  const std::size_t megabytes = planned.workspace_bytes >> 20;
  return engine_of(*planned.choice) + (megabytes >= 16 ? " (" + std::to_string(megabytes) + " MiB)" : "");
}

std::string dims(const Shape& shape) {
  std::string text;
  for (int axis = 1; axis < shape.rank(); ++axis) {
    if (axis > 1) text += 'x';
    text += std::to_string(shape[axis]);
  }
  return text;
}

std::string label(const NetworkConvolution& c) {
  std::string text = dims(c.x) + " -> " + std::to_string(c.w[0]) + ", " + std::to_string(c.w[2]) + "x" + std::to_string(c.w[3]);
  if (c.params.stride.h > 1) text += " /" + std::to_string(c.params.stride.h);
  if (c.normalised) text += c.plain ? " (both)" : " (norm)";
  return text;
}

// Rows of one network, batch size and precision; what was passed over is added to `passed_over`.
std::string table(const Workload& workload, const Precision& precision, const PlanDevice& device, std::map<std::string, int>& passed_over) {
  const bool f16 = precision.dtype == DType::kF16;  // cuDNN fuses in no other type: four columns say it all
  std::string text = "\n### " + workload.model.name + ", batch " + std::to_string(workload.batch) + ", " + precision.name + "\n\n| convolution |";
  std::string line = "\n|---|";
  std::vector<ConvPattern> columns{ConvPattern::kForward, ConvPattern::kBackwardData, ConvPattern::kBackwardDataAdd, ConvPattern::kBackwardFilter};
  if (f16)
    columns.insert(columns.end(), {ConvPattern::kForwardSums, ConvPattern::kNormForwardSums, ConvPattern::kNormBackwardData,
                                   ConvPattern::kNormBackwardFilter});
  for (const ConvPattern pattern : columns) text += std::string(" ") + name_of(pattern) + " |", line += "---|";
  text += line + "\n";
  for (const NetworkConvolution& convolution : convolutions_of(workload.model, workload.batch)) {
    std::map<ConvPattern, std::string> cells;
    for (const ConvProblem& problem : problems_of(convolution, precision.dtype, precision.tf32)) {
      if (!f16 && !emulated::is_plain(problem.pattern)) continue;
      const Planned planned = plan(problem, device);
      cells[problem.pattern] = cell(planned);
      if (!planned.passed_over.empty())
        ++passed_over[std::string(precision.name) + " " + name_of(problem.pattern) + ": " + planned.passed_over + " -> " +
                      engine_of(*planned.choice)];
    }
    text += "| " + label(convolution) + " |";
    for (const ConvPattern pattern : columns) text += " " + cells[pattern] + " |";
    text += "\n";
  }
  return text;
}

void check_problem(const ConvProblem& problem, const PlanDevice& device, std::vector<std::string>& failures) {
  const std::string name = describe(problem);
  const Planned planned = plan(problem, device);
  if (planned.choice.has_value() != emulated::plans_on_sm90(problem)) {
    failures.push_back(name + (planned.choice ? ": has a plan, none was expected" : ": no plan: " + planned.reason));
    return;
  }
  if (!planned.choice) {
    if (planned.reason.find("cuDNN") == std::string::npos) failures.push_back(name + ": is refused without a reason");
    return;
  }
  for (const char* unwanted : {"NONDETERMINISTIC", "REDUCED_PRECISION_REDUCTION"})
    if (planned.notes.find(unwanted) != std::string::npos) failures.push_back(name + ": its engine is noted as " + unwanted);
  if (planned.workspace_bytes > cudnn::kMaxWorkspaceBytes) failures.push_back(name + ": workspace " + std::to_string(planned.workspace_bytes));
  ConvGraph again(problem, device);
  if (!again.build_choice(*planned.choice))
    failures.push_back(name + ": " + *planned.choice + " can't be had again: " + again.reason());
  else if (again.choice() != *planned.choice || again.workspace_bytes() != planned.workspace_bytes)
    failures.push_back(name + ": asked for " + *planned.choice + ", got " + again.choice());
}

// Graphs that cuDNN 9.19 does not plan; if it does one day, this says so, and the rule of tests/emulated is to be widened.
void check_refusals(const PlanDevice& device, std::vector<std::string>& failures) {
  const Conv2dParams params{.pad = {1, 1}};
  const ConvProblem bf16{
      .pattern = ConvPattern::kForwardSums, .dtype = DType::kBF16, .x = {256, 64, 56, 56}, .w = {64, 64, 3, 3}, .params = params};
  const ConvProblem odd{
      .pattern = ConvPattern::kNormForwardSums, .dtype = DType::kF16, .x = {256, 60, 56, 56}, .w = {64, 60, 3, 3}, .params = params};
  for (const ConvProblem& problem : {bf16, odd}) {
    const Planned planned = plan(problem, device);
    if (planned.choice || planned.reason.empty()) failures.push_back(describe(problem) + ": should be refused with a reason");
  }
  ConvGraph graph(bf16, device);
  if (graph.build_choice("eng99999")) failures.push_back("an engine that does not exist can be built");
}

}  // namespace

std::string version_line() { return "cuDNN " + cudnn::library_version() + ", cudnn-frontend " + cudnn::frontend_version(); }

std::string plan_table(const PlanDevice& device) {
  std::map<std::string, int> passed_over;
  std::string tables;
  for (const Workload& workload : workloads())
    for (const Precision& precision : kPrecisions) tables += table(workload, precision, device, passed_over);
  std::string text =
      "# Which engines cuDNN plans for our convolutions\n\n"
      "Made by `cudnn_plans --all` (tests/cudnn_offline) with the product's graphs, for an H100 (sm_90) from its published figures, without one. " +
      version_line() +
      ".\n\nEach cell is the engine that is taken without timing: cuDNN's first proposal (heuristic mode A, then its fall-back list) that is\n"
      "deterministic, sums in f32 and needs at most 1 GiB of workspace (shown from 16 MiB); `-`: none. `tf32` and `f32` are fp32 with and without\n"
      "TF32. The eight patterns are those of cuda/conv_engine.h; bf16 and f32 have no fused plans, so those columns are left out. Convolutions\n"
      "marked (norm) read relu(norm(x)). Images of fewer than 4 channels are widened first in 16 bits (cuda/conv_engine.cpp).\n\n"
      "## Proposals that were passed over\n\n"
      "How often cuDNN's first proposal was not taken, and the note that forbids it. `TENSOR_CORE` is TF32, in f32.\n\n";
  if (passed_over.empty()) text += "None.\n";
  for (const auto& [what, times] : passed_over) text += "- " + what + ": " + std::to_string(times) + (times == 1 ? " time\n" : " times\n");
  return text + "\n## Plans\n" + tables;
}

std::vector<std::string> check_expectations(const PlanDevice& device) {
  std::vector<std::string> failures;
  int fused = 0;
  for (const Workload& workload : workloads()) {
    if (!workload.in_ci) continue;
    for (const NetworkConvolution& convolution : convolutions_of(workload.model, workload.batch))
      for (const Precision& precision : kPrecisions)
        for (const ConvProblem& problem : problems_of(convolution, precision.dtype, precision.tf32)) {
          check_problem(problem, device, failures);
          if (workload.model.name == "resnet50" && problem.dtype == DType::kF16 && problem.pattern == ConvPattern::kNormForwardSums) ++fused;
        }
  }
  // ResNet-50 v1.5 has 3x3 and last 1x1 convolutions of 4 stages, and the 3x3 with stride 2 of 3.
  if (fused != 11) failures.push_back("ResNet-50 has " + std::to_string(fused) + " distinct convolutions with a normalised input, not 11");
  check_refusals(device, failures);
  return failures;
}

}  // namespace lockstep::cuda
