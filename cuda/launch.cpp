// The count of launches (launch.h).
// SPDX-License-Identifier: Apache-2.0
#include "cuda/launch.h"

#include <atomic>

namespace lockstep::cuda {
namespace {

std::atomic<std::int64_t> launches{0};

}  // namespace

void note_launch() { launches.fetch_add(1, std::memory_order_relaxed); }
std::int64_t launch_count() { return launches.load(std::memory_order_relaxed); }

}  // namespace lockstep::cuda
