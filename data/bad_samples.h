// BadSamples: the training samples that could not be read, with the budget for them. A bad sample is never skipped:
// the loader puts another in its place by a fixed rule, so that counts and order stay the same for every world size.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace lockstep {

struct BadSample {
  std::int64_t id = 0;
  std::string name;    // the source's name for it: the file
  std::string reason;  // the message of the error
};

class BadSamples {
 public:
  explicit BadSamples(std::int64_t budget) : budget_(budget) {}

  // Records a sample (once). Throws UserError(kData) when more than the budget are bad. Thread-safe, as is all here.
  void add(BadSample sample);
  bool contains(std::int64_t id) const;  // costs one relaxed load while there are none
  std::int64_t count() const { return count_.load(std::memory_order_acquire); }
  std::vector<BadSample> list() const;  // by id

 private:
  const std::int64_t budget_;
  std::atomic<std::int64_t> count_{0};
  mutable std::mutex mutex_;
  std::map<std::int64_t, BadSample> samples_;
};

}  // namespace lockstep
