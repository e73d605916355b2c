// Splitting one call over OpenMP threads. With one thread nothing of OpenMP runs. Chunks are fixed by the sizes alone.
// In a rehearsal (core/rehearsal.h) nothing runs: kernels take their scratch and return.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/rehearsal.h"

namespace lockstep {

// body(i) for i in [0, count). Bodies must not throw.
template <class Body>
void parallel_for(int threads, std::int64_t count, const Body& body) {
  if (Rehearsal::active()) return;
  if (threads <= 1 || count <= 1) {
    for (std::int64_t i = 0; i < count; ++i) body(i);
    return;
  }
#pragma omp parallel for schedule(static) num_threads(threads)
  for (std::int64_t i = 0; i < count; ++i) body(i);
}

// body(begin, end) over chunks of [0, n); every chunk begins at a multiple of `grain`. For bodies whose result does not
// depend on the chunks: one thread gets all of it at once.
template <class Body>
void parallel_chunks(int threads, std::int64_t n, std::int64_t grain, const Body& body) {
  if (Rehearsal::active()) return;
  if (threads <= 1) {
    if (n > 0) body(std::int64_t{0}, n);
    return;
  }
  parallel_for(threads, (n + grain - 1) / grain, [&](std::int64_t i) { body(i * grain, std::min(n, (i + 1) * grain)); });
}

}  // namespace lockstep
