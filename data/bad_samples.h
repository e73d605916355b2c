// BadSamples: the samples that could not be read, with the budget for them. A bad sample is never skipped: in training the
// loader puts another in its place by a fixed rule, in evaluation it may count as a miss, so that counts and order stay the
// same for every world size. It is a record only: whether a sample is read, and with what result, never depends on it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "core/error.h"

namespace lockstep {

struct BadSample {
  std::int64_t id = 0;
  std::string name;    // the source's name for it: the file
  std::string reason;  // the message of the error
};

// Is it the sample that is bad (damaged, missing), and not the options or the machine?
inline bool is_of_the_sample(const UserError& error) {
  return error.code() == ExitCode::kData || error.code() == ExitCode::kNoInput;
}

class BadSamples {
 public:
  explicit BadSamples(std::int64_t budget) : budget_(budget) {}

  // Records a sample (once). Throws UserError(kData) when more than the budget are bad. Thread-safe, as is all here.
  void add(BadSample sample);
  std::int64_t count() const { return count_.load(std::memory_order_acquire); }  // takes no lock
  std::vector<BadSample> list() const;  // by id

 private:
  const std::int64_t budget_;
  std::atomic<std::int64_t> count_{0};
  mutable std::mutex mutex_;
  std::map<std::int64_t, BadSample> samples_;
};

}  // namespace lockstep
