// The ConvEngine of cuDNN: one plan per problem, made at its first use (plan_chooser.h) and kept.
// SPDX-License-Identifier: Apache-2.0
#include <cudnn.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/accelerator.h"
#include "core/error.h"
#include "cuda/cudnn/plan_chooser.h"
#include "cuda/runtime.h"

namespace lockstep::cuda {
namespace {

using cudnn::ConvGraph;
using cudnn::Plan;

void check(cudnnStatus_t status, const char* call) {
  if (status != CUDNN_STATUS_SUCCESS)
    throw EnvironmentError("cuDNN " + cudnn::library_version() + ", " + call + ": " + cudnnGetErrorString(status));
}

// A library handle, and the stream that it works on.
class Handle {
 public:
  Handle() { check(cudnnCreate(&handle_), "cudnnCreate"); }
  ~Handle() { cudnnDestroy(handle_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  cudnnHandle_t get() const { return handle_; }
  cudnnHandle_t on(Stream stream) {
    if (!known_ || stream.handle != stream_.handle) check(cudnnSetStream(handle_, static_cast<cudaStream_t>(stream.handle)), "cudnnSetStream");
    stream_ = stream;
    known_ = true;
    return handle_;
  }

 private:
  cudnnHandle_t handle_ = nullptr;
  Stream stream_;
  bool known_ = false;
};

// Memory for every argument of a problem, to time plans on. What lies in it does not matter.
class TimingArguments {
 public:
  TimingArguments(const ConvProblem& problem, Device device) {
    const std::int64_t longest = std::max(problem.x[1], problem.w[0]);
    const bool filter_gradient = problem.pattern == ConvPattern::kBackwardFilter || problem.pattern == ConvPattern::kNormBackwardFilter;
    const bool data_gradient = problem.pattern == ConvPattern::kBackwardData || problem.pattern == ConvPattern::kBackwardDataAdd ||
                               problem.pattern == ConvPattern::kNormBackwardData;
    const Shape y = output_shape(problem), out = filter_gradient ? problem.w : data_gradient ? problem.x : y;
    const auto memory = [&](const Shape& shape, DType dtype) { return memory_.emplace_back(Tensor::empty(shape, dtype, device)).ptr(); };
    ConvArguments& a = arguments_;
    a.x = memory(problem.x, problem.dtype);
    a.w = memory(problem.w, problem.dtype);
    a.dy = filter_gradient || data_gradient ? memory(y, problem.dtype) : nullptr;
    a.out = memory(out, problem.dtype);
    for (const void** vector : {&a.scale, &a.bias, &a.mean, &a.inv_std, &a.gamma, &a.beta}) *vector = memory({longest}, DType::kF32);
    for (void** vector : {&a.sum, &a.square_sum}) *vector = memory({longest}, DType::kF32);
  }
  const ConvArguments& get() const { return arguments_; }

 private:
  std::vector<Tensor> memory_;
  ConvArguments arguments_;
};

class DeviceTimer final : public cudnn::PlanTimer {
 public:
  DeviceTimer(Accelerator& accelerator, Handle& handle) : accelerator_(accelerator), handle_(handle) {}

  bool prepare(const ConvProblem& problem) override {
    try {
      pool_ = accelerator_.make_pool();  // real memory, also while a pass is only rehearsed
      const PoolScope scope(*pool_);
      arguments_.emplace(problem, accelerator_.device());
      return true;
    } catch (const EnvironmentError&) {
      return false;
    }
  }
  void release() override {
    arguments_.reset();
    pool_.reset();
  }

  // Median over several spans, each of several runs, because one run may be shorter than what the host needs to queue it.
  double milliseconds(const ConvGraph& graph) override {
    std::array<double, 5> spans{};
    try {
      const PoolScope scope(*pool_);
      Tensor workspace;
      if (graph.workspace_bytes() > 0)
        workspace = Tensor::empty({static_cast<std::int64_t>(graph.workspace_bytes())}, DType::kU8, accelerator_.device());
      run(graph, workspace, 1);
      for (double& span : spans) span = run(graph, workspace, 4);
    } catch (const EnvironmentError&) {  // refused, or no room for its workspace
      return std::numeric_limits<double>::infinity();
    }
    std::nth_element(spans.begin(), spans.begin() + spans.size() / 2, spans.end());
    return spans[spans.size() / 2];
  }

 private:
  // Per run, on an otherwise idle stream.
  double run(const ConvGraph& graph, Tensor& workspace, int times) {
    const Stream stream = accelerator_.compute_stream();
    accelerator_.record(begin_, stream);
    for (int i = 0; i < times; ++i) graph.run(handle_.on(stream), arguments_->get(), workspace.ptr());
    accelerator_.record(end_, stream);
    accelerator_.synchronize(end_);
    return accelerator_.elapsed_ms(begin_, end_) / times;
  }

  Accelerator& accelerator_;
  Handle& handle_;
  std::unique_ptr<MemoryPool> pool_;  // while a problem is timed
  std::optional<TimingArguments> arguments_;
  Event begin_ = accelerator_.new_event(), end_ = accelerator_.new_event();
};

std::string machine(Device device) {
  const GpuFacts gpu = runtime::gpu_facts(device.index);
  return gpu.name + " cc" + std::to_string(gpu.major) + "." + std::to_string(gpu.minor) + " cudnn" + cudnn::library_version() + " frontend" +
         cudnn::frontend_version();
}

class CudnnEngine final : public ConvEngine {
 public:
  CudnnEngine(const CudaOptions& options, Accelerator& accelerator)
      : timer_(accelerator, handle_),
        chooser_({.handle = handle_.get(), .described = nullptr}, PlanCache(options.plan_cache, machine(accelerator.device())),
                 options.time_choices ? &timer_ : nullptr) {
    say_notes();
  }
  ~CudnnEngine() override {
    try {
      chooser_.save();
    } catch (const std::exception&) {  // out of memory at the very end: the choices are made anew next time
    }
    say_notes();
  }
  CudnnEngine(const CudnnEngine&) = delete;
  CudnnEngine& operator=(const CudnnEngine&) = delete;

  bool supports(const ConvProblem& problem) override { return plan(problem).graph != nullptr; }
  std::size_t workspace_bytes(const ConvProblem& problem) override { return planned(problem).workspace_bytes(); }
  void run(Stream stream, const ConvProblem& problem, const ConvArguments& arguments, void* workspace) override {
    planned(problem).run(handle_.on(stream), arguments, workspace);
  }

  std::map<std::string, std::string> choices() const override {
    std::map<std::string, std::string> result;
    for (const auto& [problem, plan] : plans_)
      if (plan.graph) result[describe(problem)] = plan.graph->choice();
    return result;
  }
  void use_choices(const std::map<std::string, std::string>& choices) override {
    LS_CHECK(plans_.empty(), "choices are given before the first convolution is planned");
    chooser_.use(choices);
  }

 private:
  // The plan file is only a convenience: what is wrong with it is said and passed over.
  void say_notes() {
    const std::vector<std::string>& notes = chooser_.cache().notes();
    for (; notes_said_ < notes.size(); ++notes_said_) std::fprintf(stderr, "warning: plan file: %s\n", notes[notes_said_].c_str());
  }
  const Plan& plan(const ConvProblem& problem) {
    const auto known = plans_.find(problem);
    return known != plans_.end() ? known->second : plans_.emplace(problem, chooser_.choose(problem)).first->second;
  }
  const ConvGraph& planned(const ConvProblem& problem) {
    const Plan& found = plan(problem);
    if (!found.graph) throw EnvironmentError("no plan for the convolution " + describe(problem) + "\n  " + found.reason);
    return *found.graph;
  }

  Handle handle_;
  DeviceTimer timer_;
  cudnn::PlanChooser chooser_;
  std::size_t notes_said_ = 0;
  std::unordered_map<ConvProblem, Plan, ConvProblemHash> plans_;  // after the handle: gone before it
};

}  // namespace

std::unique_ptr<ConvEngine> make_conv_engine(const CudaOptions& options, Accelerator& accelerator) {
  return std::make_unique<CudnnEngine>(options, accelerator);
}

}  // namespace lockstep::cuda
