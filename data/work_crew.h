// for_each_piece: a range of independent items over threads, for jobs that read a whole data set (scan, pack).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

namespace lockstep {

// What a user's --threads means: 0 is one per processor that this process may use.
int crew_size(int threads);

// Calls body(worker, begin, end) for the pieces [begin, end) of [0, count), each at most `piece` long, from `threads`
// threads; `worker` is the thread's number in [0, threads). Which thread gets which piece is a matter of chance. The calling
// thread meanwhile calls tick(items done) about five times a second; `tick` may be empty. An exception of body ends the
// work and is thrown on when all threads have come to rest.
void for_each_piece(std::int64_t count, std::int64_t piece, int threads,
                    const std::function<void(int worker, std::int64_t begin, std::int64_t end)>& body,
                    const std::function<void(std::int64_t done)>& tick = {});

}  // namespace lockstep
