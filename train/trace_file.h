// The trace file: spans as Chrome's trace event format (JSON), which Perfetto (ui.perfetto.dev) and chrome://tracing open.
// One process per rank; one track per thread, and one for the communication thread's all-reduces. An all-reduce from its
// launch to its end is an asynchronous span, since those overlap.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/trace.h"
#include "train/trace_ops.h"

namespace lockstep {

// One rank's events, separated by commas; times are relative to `origin_ns`. `process`: how the rank is shown.
std::string trace_events(const std::vector<TraceTrack>& tracks, const OpLog& ops, int rank, const std::string& process, std::int64_t origin_ns);

// The whole file from all ranks' events.
std::string trace_json(std::span<const std::string> events_of_ranks);

}  // namespace lockstep
