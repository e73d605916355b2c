// SPDX-License-Identifier: Apache-2.0
#include "core/trace.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>

#include "core/error.h"

namespace lockstep {

std::atomic<std::uint64_t> detail::trace_generation{0};

namespace {

// One thread's spans. Written by its thread; the reader takes the first `size` after an acquire.
struct ThreadBuffer {
  std::string thread;
  std::vector<TraceSpan> spans;  // of the trace's full length from the start
  std::atomic<std::size_t> size{0};
  std::atomic<std::uint64_t> dropped{0};
};

struct Registry {
  std::mutex mutex;
  std::uint64_t last_generation = 0;
  std::size_t spans_per_thread = 0;
  std::vector<std::shared_ptr<ThreadBuffer>> free;     // made ahead
  std::vector<std::shared_ptr<ThreadBuffer>> buffers;  // of the trace under way
};

std::shared_ptr<ThreadBuffer> make_buffer(std::size_t spans) {
  auto buffer = std::make_shared<ThreadBuffer>();
  buffer->spans.resize(spans);  // touched now, not while the clock runs
  return buffer;
}

Registry& registry() {
  static Registry* instance = new Registry;  // never destroyed: threads may outlive every static
  return *instance;
}

// Shared, so that a thread that is late for the end of a trace writes into memory that still exists.
struct ThreadState {
  std::uint64_t generation = 0;
  std::shared_ptr<ThreadBuffer> buffer;
};
thread_local ThreadState thread_state;

// This thread's buffer of the trace `generation`, or null if that one has ended meanwhile.
ThreadBuffer* join_trace(std::uint64_t generation) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  if (detail::trace_generation.load(std::memory_order_relaxed) != generation) return nullptr;
  std::shared_ptr<ThreadBuffer> buffer;
  if (all.free.empty()) {
    buffer = make_buffer(all.spans_per_thread);
  } else {
    buffer = std::move(all.free.back());
    all.free.pop_back();
  }
  char name[16] = "";
  pthread_getname_np(pthread_self(), name, sizeof name);
  buffer->thread = name;
  all.buffers.push_back(buffer);
  thread_state = {generation, std::move(buffer)};
  return thread_state.buffer.get();
}

}  // namespace

void start_trace(std::size_t spans_per_thread, int threads) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  LS_CHECK(!trace_enabled(), "start_trace while a trace is under way");
  all.spans_per_thread = spans_per_thread;
  for (int i = 0; i < threads; ++i) all.free.push_back(make_buffer(spans_per_thread));
  detail::trace_generation.store(++all.last_generation, std::memory_order_release);
}

std::vector<TraceTrack> stop_trace() {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  LS_CHECK(trace_enabled(), "stop_trace without start_trace");
  detail::trace_generation.store(0, std::memory_order_release);
  std::vector<TraceTrack> tracks;
  for (const auto& buffer : all.buffers) {
    const std::size_t size = buffer->size.load(std::memory_order_acquire);
    const auto first = buffer->spans.begin();
    tracks.push_back({buffer->thread, {first, first + static_cast<std::ptrdiff_t>(size)}, buffer->dropped.load()});
  }
  all.buffers.clear();
  all.free.clear();
  return tracks;
}

std::int64_t trace_clock_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void record_span(const TraceSpan& span) {
  const std::uint64_t generation = detail::trace_generation.load(std::memory_order_acquire);
  if (generation == 0) return;
  ThreadBuffer* buffer = thread_state.generation == generation ? thread_state.buffer.get() : join_trace(generation);
  if (buffer == nullptr) return;
  const std::size_t at = buffer->size.load(std::memory_order_relaxed);
  if (at == buffer->spans.size()) {
    buffer->dropped.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  buffer->spans[at] = span;
  buffer->size.store(at + 1, std::memory_order_release);
}

}  // namespace lockstep
