// InputVerdict: does training wait for its input, and which part of the loading is slow? From clocks that run anyway.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "data/loader.h"

namespace lockstep {

// What was measured over a while.
struct InputReading {
  double seconds = 0;       // of training, evaluations and saves left out
  double wait_seconds = 0;  // of these, waiting for the loader
  StageTimes stages;        // of all loader threads together
  int threads = 0;          // of the loader
};

struct InputVerdict {
  bool bound = false;  // more than 10 % of the time is waiting
  double wait = 0;     // share of the time
  double busy = 0;     // loader threads that worked, on average
  int threads = 0;
  double read = 0, decode = 0, augment = 0;  // shares of the loader's work

  // "INPUT-BOUND 61 %: 1.9 of 2 loader threads busy (read 3 %, decode 80 %, augment 17 %); more data.loader_threads, or ..."
  // "compute-bound: input waits 0.4 %; loader busy 0.6 of 1 thread"
  std::string text() const;
};

InputVerdict judge_input(const InputReading& reading);

// Turns running totals into readings: each is over the time since the one before.
class InputWatch {
 public:
  // Another loader follows, whose totals begin at 0; `last` are those of the one that ends.
  void loader_ends(const LoaderStats& last);
  // The time up to here is not judged.
  void skip(double seconds, double wait_seconds, const LoaderStats& loader);
  InputVerdict judge(double seconds, double wait_seconds, const LoaderStats& loader);

 private:
  double seconds_ = 0, wait_seconds_ = 0;
  StageTimes stages_;
};

}  // namespace lockstep
