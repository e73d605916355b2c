// SPDX-License-Identifier: Apache-2.0
#include "cuda/cudnn/plan_chooser.h"

#include <limits>
#include <set>
#include <span>

#include "core/error.h"

namespace lockstep::cuda::cudnn {

Plan PlanChooser::choose(const ConvProblem& problem) {
  const std::string name = describe(problem);
  if (const auto wanted = wanted_.find(name); wanted != wanted_.end()) return wanted_plan(problem, wanted->second);
  if (Plan cached = cached_plan(problem, name); cached.graph) return cached;
  Plan made = timer_ != nullptr ? timed_plan(problem) : proposed_plan(problem);
  if (made.graph) cache_.remember(name, {made.graph->choice(), made.timed});
  if (made.timed) cache_.save();  // it took long
  return made;
}

Plan PlanChooser::wanted_plan(const ConvProblem& problem, const std::string& choice) const {
  auto graph = new_graph(problem);
  if (graph->build_choice(choice)) return {std::move(graph), {}, false};
  throw EnvironmentError("the checkpoint's engine for " + describe(problem) + " is not offered here, so the same bits can't be had\n  " +
                         graph->reason() + "\n  resume on the same kind of GPU with the same cuDNN, or accept other bits with --allow-changes");
}

Plan PlanChooser::cached_plan(const ConvProblem& problem, const std::string& name) {
  const PlanChoice* choice = cache_.find(name);
  if (choice == nullptr || (timer_ != nullptr && !choice->timed)) return {};
  auto graph = new_graph(problem);
  if (graph->build_choice(choice->engine)) return {std::move(graph), {}, false};
  cache_.forget(name);
  return {};
}

Plan PlanChooser::proposed_plan(const ConvProblem& problem) const {
  auto graph = new_graph(problem);
  for (const Heuristic heuristic : {Heuristic::kA, Heuristic::kFallback})
    if (graph->propose(std::span(&heuristic, 1)) && graph->build_first()) return {std::move(graph), {}, false};
  return {nullptr, graph->reason(), false};
}

Plan PlanChooser::timed_plan(const ConvProblem& problem) {
  constexpr Heuristic kAll[] = {Heuristic::kA, Heuristic::kB, Heuristic::kFallback};
  auto graph = new_graph(problem);
  if (!graph->propose(kAll)) return {nullptr, graph->reason(), false};
  if (!timer_->prepare(problem)) return proposed_plan(problem);
  const int best = fastest(*graph);
  timer_->release();
  return best >= 0 && graph->build(best) ? Plan{std::move(graph), {}, true} : proposed_plan(problem);
}

// Engines that are compiled at run time take seconds each and are left out. -1: none runs.
int PlanChooser::fastest(ConvGraph& graph) {
  std::set<std::string> seen;
  int best = -1;
  double best_ms = std::numeric_limits<double>::infinity();
  for (int index = 0; index < graph.proposals(); ++index) {
    if (!graph.acceptable(index) || !seen.insert(graph.proposal(index)).second) continue;
    if (graph.notes(index).find("RUNTIME_COMPILATION") != std::string::npos || !graph.build(index)) continue;
    const double ms = timer_->milliseconds(graph);
    if (ms < best_ms) best = index, best_ms = ms;
  }
  return best;
}

}  // namespace lockstep::cuda::cudnn
