// SPDX-License-Identifier: Apache-2.0
#include "tests/cudnn_offline/chooser_checks.h"

#include <unistd.h>

#include <filesystem>
#include <limits>
#include <map>
#include <span>

#include "core/error.h"
#include "cuda/cudnn/plan_chooser.h"

namespace lockstep::cuda {
namespace {

using cudnn::ConvGraph;
using cudnn::Heuristic;
using cudnn::Plan;
using cudnn::PlanChooser;
using cudnn::PlanDevice;

constexpr Heuristic kAll[] = {Heuristic::kA, Heuristic::kB, Heuristic::kFallback};
constexpr const char* kMachine = "a machine";

// A filter gradient for which cuDNN also proposes an engine that is not deterministic.
ConvProblem problem() {
  return {.pattern = ConvPattern::kBackwardFilter, .dtype = DType::kF32, .x = {64, 64, 28, 28}, .w = {64, 64, 3, 3}, .params = {.pad = {1, 1}}};
}

// Everything takes 2 ms but `favourite`, which takes 1.
class FakeTimer final : public cudnn::PlanTimer {
 public:
  explicit FakeTimer(std::string favourite, double others = 2) : favourite_(std::move(favourite)), others_(others) {}
  bool prepare(const ConvProblem&) override { return true; }
  double milliseconds(const ConvGraph& graph) override {
    ++timed[graph.choice()];
    return graph.choice() == favourite_ ? 1 : others_;
  }
  void release() override {}
  std::map<std::string, int> timed;

 private:
  std::string favourite_;
  double others_;
};

class Checks {
 public:
  explicit Checks(const PlanDevice& device) : device_(device) {
    ConvGraph graph(problem(), device);
    if (graph.propose(kAll)) {
      for (int i = 0; i < graph.proposals(); ++i) {
        const bool random = graph.notes(i).find("NONDETERMINISTIC") != std::string::npos;
        if (random) forbidden_ = graph.proposal(i);
        if (graph.acceptable(i) && graph.notes(i).find("RUNTIME") == std::string::npos && graph.proposal(i) != first_)
          (first_.empty() ? first_ : last_) = graph.proposal(i);
      }
    }
    expect(!first_.empty() && !last_.empty() && !forbidden_.empty(), "the sample has two engines and a forbidden one");
  }

  std::vector<std::string> run() {
    std::filesystem::remove(path_);
    proposals_are_kept_in_the_file();
    unusable_lines_are_replaced();
    timing_decides();
    checkpoints_go_first();
    std::filesystem::remove(path_);
    return failures_;
  }

 private:
  void expect(bool holds, const std::string& what) {
    if (!holds) failures_.push_back("plan chooser: " + what);
  }
  PlanChooser chooser(cudnn::PlanTimer* timer = nullptr) const { return {device_, PlanCache(path_, kMachine), timer}; }
  void write(const std::string& engine, bool timed) const {
    PlanCache cache(path_, kMachine);
    cache.remember(describe(problem()), {engine, timed});
    cache.save();
  }
  std::string kept() const {
    const PlanCache cache(path_, kMachine);
    const PlanChoice* choice = cache.find(describe(problem()));
    return choice == nullptr ? "" : choice->engine;
  }
  static std::string chosen(const Plan& plan) { return plan.graph ? plan.graph->choice() : ""; }

  void proposals_are_kept_in_the_file() {
    PlanChooser first = chooser();
    expect(chosen(first.choose(problem())) == first_, "the first acceptable proposal is taken");
    expect(kept().empty(), "nothing is written before save");
    first.save();
    expect(kept() == first_, "save writes it");
    write(last_, false);
    expect(chosen(chooser().choose(problem())) == last_, "the file's engine is taken before cuDNN's proposal");
  }

  void unusable_lines_are_replaced() {
    for (const std::string& engine : {std::string("eng99999"), std::string("damaged"), forbidden_}) {
      write(engine, false);
      PlanChooser replacing = chooser();
      expect(chosen(replacing.choose(problem())) == first_, "\"" + engine + "\" in the file is passed over");
      replacing.save();
      expect(kept() == first_, "\"" + engine + "\" in the file is replaced");
    }
  }

  void timing_decides() {
    write(first_, false);
    FakeTimer timer(last_);
    expect(chosen(chooser(&timer).choose(problem())) == last_, "the fastest is taken, not the file's untimed one");
    expect(kept() == last_, "what was timed is written at once");
    expect(timer.timed.size() >= 2 && !timer.timed.contains(forbidden_), "every acceptable engine is timed, no other");
    for (const auto& [engine, times] : timer.timed) expect(times == 1, engine + " is timed once");
    FakeTimer idle(first_);
    expect(chosen(chooser(&idle).choose(problem())) == last_ && idle.timed.empty(), "what the file knows is not timed again");
    std::filesystem::remove(path_);
    FakeTimer broken("", std::numeric_limits<double>::infinity());
    const Plan plan = chooser(&broken).choose(problem());
    expect(chosen(plan) == first_ && !plan.timed, "if nothing runs, cuDNN's proposal is taken and is not called timed");
  }

  void checkpoints_go_first() {
    write(first_, true);
    PlanChooser resumed = chooser();
    resumed.use({{describe(problem()), last_}});
    expect(chosen(resumed.choose(problem())) == last_, "the checkpoint's engine is taken before the file's");
    for (const std::string& engine : {std::string("eng99999"), forbidden_}) {
      resumed.use({{describe(problem()), engine}});
      std::string message;
      try {
        resumed.choose(problem());
      } catch (const EnvironmentError& error) {
        message = error.what();
      }
      expect(message.find(describe(problem())) != std::string::npos, "the checkpoint's \"" + engine + "\" is an error that names the convolution");
    }
  }

  const PlanDevice device_;
  const std::string path_ = std::filesystem::temp_directory_path() / ("lockstep_chooser_" + std::to_string(::getpid()));
  std::string first_, last_, forbidden_;
  std::vector<std::string> failures_;
};

}  // namespace

std::vector<std::string> check_chooser(const PlanDevice& device) { return Checks(device).run(); }

}  // namespace lockstep::cuda
