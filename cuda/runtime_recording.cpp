// The CUDA runtime (runtime.h) on a GPU: recording as CUDA graphs, and copies, which are told apart while one records.
//
// Capture is in relaxed mode: libraries may do what they must when they are first called, and other threads are not
// concerned at all.
// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime_api.h>

#include <utility>
#include <vector>

#include "core/error.h"
#include "cuda/cuda_check.h"
#include "cuda/runtime.h"

namespace lockstep::cuda::runtime {
namespace {

thread_local bool recording = false;  // between begin_recording and end_recording

cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }

class Graph final : public RecordedWork {
 public:
  Graph(cudaGraphExec_t executable, std::size_t nodes) : executable_(executable), nodes_(nodes) {}
  ~Graph() override { static_cast<void>(cudaGraphExecDestroy(executable_)); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  std::size_t node_count() const override { return nodes_; }
  cudaGraphExec_t executable() const { return executable_; }

 private:
  cudaGraphExec_t executable_;
  std::size_t nodes_;
};

struct DestroyGraph {
  void operator()(cudaGraph_t graph) const { static_cast<void>(cudaGraphDestroy(graph)); }
};
using OwnedGraph = std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, DestroyGraph>;

// Kernels, copies and fills; joins and other bookkeeping are left out.
std::size_t count_work(cudaGraph_t graph) {
  std::size_t count = 0;
  check_cuda(cudaGraphGetNodes(graph, nullptr, &count), "cudaGraphGetNodes");
  std::vector<cudaGraphNode_t> nodes(count);
  if (count > 0) check_cuda(cudaGraphGetNodes(graph, nodes.data(), &count), "cudaGraphGetNodes");
  std::size_t work = 0;
  for (std::size_t i = 0; i < count; ++i) {
    cudaGraphNodeType type = cudaGraphNodeTypeEmpty;
    check_cuda(cudaGraphNodeGetType(nodes[i], &type), "cudaGraphNodeGetType");
    if (type == cudaGraphNodeTypeKernel || type == cudaGraphNodeTypeMemcpy || type == cudaGraphNodeTypeMemset) ++work;
  }
  return work;
}

bool page_locked_or_device(const void* memory) {
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, memory) == cudaSuccess) return attributes.type != cudaMemoryTypeUnregistered;
  static_cast<void>(cudaGetLastError());
  return false;
}

}  // namespace

void copy(Stream stream, void* to, const void* from, std::size_t nbytes) {
  if (nbytes == 0) return;
  if (recording && !(page_locked_or_device(to) && page_locked_or_device(from)))
    throw EnvironmentError("cuda: a copy of host memory that is not page-locked can't be recorded");
  check_cuda(cudaMemcpyAsync(to, from, nbytes, cudaMemcpyDefault, native(stream)), "cudaMemcpyAsync");
}

void begin_recording(Stream stream) {
  check_cuda(cudaStreamBeginCapture(native(stream), cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
  recording = true;
}

std::unique_ptr<RecordedWork> end_recording(Stream stream) {
  recording = false;
  cudaGraph_t captured = nullptr;
  const cudaError_t error = cudaStreamEndCapture(native(stream), &captured);
  const OwnedGraph graph(captured);
  check_cuda(error, "cudaStreamEndCapture");
  const std::size_t nodes = count_work(captured);
  cudaGraphExec_t executable = nullptr;
  check_cuda(cudaGraphInstantiate(&executable, captured, 0), "cudaGraphInstantiate");
  auto work = std::make_unique<Graph>(executable, nodes);
  check_cuda(cudaGraphUpload(executable, native(stream)), "cudaGraphUpload");  // so that the first replay is as fast as the next
  return work;
}

void replay(Stream stream, RecordedWork& work) {
  const auto* graph = dynamic_cast<Graph*>(&work);
  LS_CHECK(graph != nullptr, "cuda: replay of work that was not recorded on a GPU");
  check_cuda(cudaGraphLaunch(graph->executable(), native(stream)), "cudaGraphLaunch");
}

}  // namespace lockstep::cuda::runtime
