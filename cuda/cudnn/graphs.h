// ConvGraph: one convolution problem as a cuDNN graph, with the plans that cuDNN offers for it.
//
// graphs.cpp is the only file that includes cudnn_frontend.h, which takes most of a minute to compile. It needs no device: with
// a DeviceDescription plans are made for a GPU that isn't there (tests/cudnn_offline).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "cuda/conv_engine.h"

namespace lockstep::cuda::cudnn {

// A GPU in cuDNN's words: the JSON of its device property descriptor.
class DeviceDescription;
// Throws EnvironmentError if cuDNN does not take it.
std::shared_ptr<const DeviceDescription> describe_device(std::string_view json);

// Whom plans are for: the device of a cudnnHandle_t, or a described one. One of the two is set.
struct PlanDevice {
  void* handle = nullptr;
  std::shared_ptr<const DeviceDescription> described;
};

std::string library_version();   // "9.19.0", of the cuDNN that is loaded
std::string frontend_version();  // "1.32.0", of the headers that we were compiled with

// In what order cuDNN proposes engines: by its model of their speed (A), the same with more alternatives (B), or whatever
// works (fall-back).
enum class Heuristic { kA, kB, kFallback };

// Plans use at most so much workspace.
constexpr std::size_t kMaxWorkspaceBytes = std::size_t{1} << 30;

// Functions that return false leave the reason in reason(). What is offered is always deterministic, sums in f32, does not
// round its inputs below what the problem says (f32 without tf32: no tensor cores), and needs no more than kMaxWorkspaceBytes.
class ConvGraph {
 public:
  ConvGraph(const ConvProblem& problem, const PlanDevice& device);
  ~ConvGraph();
  ConvGraph(const ConvGraph&) = delete;
  ConvGraph& operator=(const ConvGraph&) = delete;

  // Asks for proposals and appends them to those it has; they are numbered from 0 in cuDNN's order, rejected ones included.
  // False: cuDNN has none, or refuses the graph.
  bool propose(std::span<const Heuristic> heuristics);
  int proposals() const;
  std::string proposal(int index) const;       // as choice()
  std::string notes(int index) const;          // what cuDNN notes about it: "TENSOR_CORE NONDETERMINISTIC"
  bool acceptable(int index) const;            // false: rejected for one of the reasons above
  bool build(int index);                       // makes the plan; it is then the one that runs
  bool build_first();                          // the first that is acceptable and can be built
  bool build_choice(const std::string& choice);  // exactly the engine and knobs that choice() named, if they are still offered

  // Of the built plan.
  const std::string& choice() const { return choice_; }  // engine and knobs: "eng62_k2=27_k3=0"
  std::size_t workspace_bytes() const { return workspace_bytes_; }
  // Queues it on the handle's stream; throws EnvironmentError.
  void run(void* handle, const ConvArguments& arguments, void* workspace) const;

  const ConvProblem& problem() const { return problem_; }
  const std::string& reason() const { return reason_; }

 private:
  struct Impl;
  bool lower();  // to a cuDNN operation graph; once
  bool selected(int index);
  bool ready(std::string choice, std::size_t plan_workspace_bytes);
  bool failed(const std::string& call, const std::string& message);

  const ConvProblem problem_;
  const PlanDevice device_;
  std::unique_ptr<Impl> impl_;
  std::string choice_, reason_;
  std::size_t plan_workspace_bytes_ = 0, workspace_bytes_ = 0;
};

}  // namespace lockstep::cuda::cudnn
