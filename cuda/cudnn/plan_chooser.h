// Which of cuDNN's engines a convolution gets: the one that a checkpoint names, the one in the plan file, the fastest when timed, or
// cuDNN's own first proposal, in this order. Only deterministic ones are ever taken (graphs.h).
//
// Apart from the engine that runs them, so that it can be tested without a device.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>

#include "cuda/cudnn/graphs.h"
#include "cuda/plan_file.h"

namespace lockstep::cuda::cudnn {

struct Plan {
  std::unique_ptr<ConvGraph> graph;  // built; null: there is no plan
  std::string reason;                // why there is none
  bool timed = false;
};

// Runs plans on the device to see how long they take.
class PlanTimer {
 public:
  virtual ~PlanTimer() = default;
  virtual bool prepare(const ConvProblem& problem) = 0;     // takes memory for its arguments; false: there is none
  virtual double milliseconds(const ConvGraph& graph) = 0;  // infinite: it does not run
  virtual void release() = 0;                               // that memory
};

class PlanChooser {
 public:
  // `timer` null: nothing is timed.
  PlanChooser(const PlanDevice& device, PlanCache cache, PlanTimer* timer) : device_(device), cache_(std::move(cache)), timer_(timer) {}

  // Throws EnvironmentError when the checkpoint's choice is not offered here.
  Plan choose(const ConvProblem& problem);
  void use(const std::map<std::string, std::string>& choices) { wanted_ = choices; }  // describe(problem) -> choice
  void save() { cache_.save(); }
  const PlanCache& cache() const { return cache_; }

 private:
  std::unique_ptr<ConvGraph> new_graph(const ConvProblem& problem) const { return std::make_unique<ConvGraph>(problem, device_); }
  Plan wanted_plan(const ConvProblem& problem, const std::string& choice) const;
  Plan cached_plan(const ConvProblem& problem, const std::string& name);
  Plan proposed_plan(const ConvProblem& problem) const;
  Plan timed_plan(const ConvProblem& problem);
  int fastest(ConvGraph& graph);

  const PlanDevice device_;
  PlanCache cache_;
  PlanTimer* const timer_;
  std::map<std::string, std::string> wanted_;
};

}  // namespace lockstep::cuda::cudnn
