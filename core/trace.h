// Trace: spans of time on this process's threads, for `train --profile` and the benchmarks.
//
// Each thread writes into a buffer of its own, so recording takes no lock and allocates nothing (but for threads beyond those
// that start_trace made buffers for, at their first span). While no trace is under way a span costs one branch. Readers (train/trace_file.h, train/op_log.h) see
// the spans after stop_trace only.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

enum class SpanKind : std::uint8_t { kPhase, kOp, kBucket, kLoader, kCheckpoint };

// Steady clock, ns. `name` is a string literal or lives as long as the program. `detail`: what the kind says (kPhase: step;
// kOp: index into the op log; kBucket: bytes; kLoader: samples or sample id; kCheckpoint: step), -1: nothing.
struct TraceSpan {
  const char* name = nullptr;
  SpanKind kind = SpanKind::kPhase;
  std::int64_t begin_ns = 0, end_ns = 0;
  std::int64_t detail = -1;
  std::int64_t queued_ns = 0;  // kBucket: when it was submitted
};

struct TraceTrack {
  std::string thread;            // the thread's name
  std::vector<TraceSpan> spans;  // in the order in which they ended
  std::uint64_t dropped = 0;     // that found the buffer full
};

namespace detail {
extern std::atomic<std::uint64_t> trace_generation;  // of the trace under way; 0: none
}

inline bool trace_enabled() { return detail::trace_generation.load(std::memory_order_relaxed) != 0; }

// One trace at a time; InternalError otherwise. start and stop may be called from any thread while others record: a span that
// ends after stop_trace is lost.
// Makes the buffers of `threads` threads (56 bytes a span).
void start_trace(std::size_t spans_per_thread, int threads = 4);
std::vector<TraceTrack> stop_trace();  // one track per thread that recorded, in the order of their first spans

std::int64_t trace_clock_ns();       // the clock of all spans
void record_span(const TraceSpan& span);  // on this thread's track; ignored while no trace is under way

// From construction to destruction.
class TraceScope {
 public:
  TraceScope(SpanKind kind, const char* name, std::int64_t detail = -1) : span_{nullptr, kind, 0, 0, detail} {
    if (!trace_enabled()) [[likely]]
      return;
    span_.name = name;
    span_.begin_ns = trace_clock_ns();
  }
  ~TraceScope() {
    if (span_.name == nullptr) [[likely]]
      return;
    span_.end_ns = trace_clock_ns();
    record_span(span_);
  }
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

 private:
  TraceSpan span_;
};

}  // namespace lockstep
