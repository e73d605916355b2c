// Recording on the emulated device: as CUDA's stream capture, streams join by waiting for its events and must be joined
// again. A replay is one item of its stream; its closures run in an order that their dependencies allow, another one each
// second time: latest first, then as recorded. What lacks an event gives other numbers.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "core/error.h"
#include "cuda/runtime.h"
#include "tests/emulated/device_state.h"

namespace lockstep::cuda::runtime {
namespace {

using namespace emulated;

// What replays share: they may be queued still when the recorded work is destroyed.
struct Graph {
  std::vector<Recording::Node> nodes;
  std::vector<int> latest_first;
  int replays = 0;
  std::size_t at = 0;  // a node that can't run yet is where the next call goes on

  void run() {
    const bool latest = replays % 2 == 0;
    try {
      for (; at < nodes.size(); ++at) nodes[latest ? static_cast<std::size_t>(latest_first[at]) : at].work();
    } catch (const NotYet&) {
      throw;
    } catch (...) {
      at = 0;
      throw;
    }
    at = 0;
    ++replays;
  }
};

class EmulatedWork final : public RecordedWork {
 public:
  explicit EmulatedWork(std::shared_ptr<Graph> graph) : graph_(std::move(graph)) {}
  std::size_t node_count() const override { return graph_->nodes.size(); }
  const std::shared_ptr<Graph>& graph() const { return graph_; }

 private:
  std::shared_ptr<Graph> graph_;
};

std::vector<int> latest_first(const std::vector<Recording::Node>& nodes) {
  std::vector<std::vector<int>> before(nodes.size());
  std::vector<std::size_t> missing(nodes.size());
  std::vector<int> ready, order;  // ready: a heap, the latest at its top
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    missing[i] = nodes[i].after.size();
    for (const int node : nodes[i].after) before[static_cast<std::size_t>(node)].push_back(static_cast<int>(i));
    if (missing[i] == 0) ready.push_back(static_cast<int>(i));
  }
  std::make_heap(ready.begin(), ready.end());
  while (!ready.empty()) {
    std::pop_heap(ready.begin(), ready.end());
    const int node = ready.back();
    ready.pop_back();
    order.push_back(node);
    for (const int next : before[static_cast<std::size_t>(node)]) {
      if (--missing[static_cast<std::size_t>(next)] > 0) continue;
      ready.push_back(next);
      std::push_heap(ready.begin(), ready.end());
    }
  }
  return order;
}

// Which nodes some path of dependencies leads to from `from`.
std::vector<bool> reached_from(const Recording& recording, const std::vector<int>& from) {
  std::vector<bool> reached(recording.nodes.size(), false);
  for (const int node : from) reached[static_cast<std::size_t>(node)] = true;
  for (std::size_t i = recording.nodes.size(); i-- > 0;)
    if (reached[i])
      for (const int node : recording.nodes[i].after) reached[static_cast<std::size_t>(node)] = true;
  return reached;
}

// A message, or "". The caller holds the lock.
std::string finish(Recording& recording) {
  const std::vector<bool> reached = reached_from(recording, recording.origin->last);
  std::string problem = recording.broken;
  for (StreamState* stream : recording.joined) {
    for (const int node : stream->last)
      if (problem.empty() && !reached[static_cast<std::size_t>(node)])
        problem = "end_recording(): a stream joined the recording by an event and was not joined again: the recorded stream must wait for its work";
    stream->last.clear();
    stream->recording = nullptr;
  }
  recording.ended = true;
  return problem;
}

}  // namespace

void begin_recording(Stream stream) {
  auto& on = *static_cast<StreamState*>(stream.handle);
  const std::lock_guard lock(state().mutex);
  if (on.recording != nullptr) refuse("begin_recording() of a stream that is being recorded");
  on.recording = std::make_shared<Recording>();
  on.recording->origin = &on;
  on.recording->joined = {&on};
  set_thread_records(true);
}

std::unique_ptr<RecordedWork> end_recording(Stream stream) {
  auto& on = *static_cast<StreamState*>(stream.handle);
  const std::lock_guard lock(state().mutex);
  const std::shared_ptr<Recording> recording = on.recording;
  if (recording == nullptr) refuse("end_recording() of a stream that is not being recorded");
  if (recording->origin != &on) refuse("end_recording() of a stream that joined the recording of another");
  set_thread_records(false);
  const std::string problem = finish(*recording);
  if (!problem.empty()) refuse("the recording is lost: " + problem);
  auto graph = std::make_shared<Graph>();
  graph->nodes = std::move(recording->nodes);
  graph->latest_first = latest_first(graph->nodes);
  return std::make_unique<EmulatedWork>(std::move(graph));
}

void replay(Stream stream, RecordedWork& work) {
  auto& on = *static_cast<StreamState*>(stream.handle);
  const auto* emulated_work = dynamic_cast<EmulatedWork*>(&work);
  LS_CHECK(emulated_work != nullptr, "emulated device: replay of another device's work");
  const std::lock_guard lock(state().mutex);
  if (on.recording != nullptr) refuse("replay() on a stream that is being recorded");
  give(on, [graph = emulated_work->graph()] { graph->run(); });
}

}  // namespace lockstep::cuda::runtime
