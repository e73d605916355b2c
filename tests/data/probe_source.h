// A source for the loaders' tests that sleeps, breaks or counts on demand.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <set>
#include <string>
#include <thread>

#include "core/error.h"
#include "data/source.h"

namespace lockstep::test {

class ProbeSource final : public Source {
 public:
  explicit ProbeSource(std::int64_t size) : size_(size) {}
  std::int64_t size() const override { return size_; }
  int classes() const override { return 2; }
  int label(std::int64_t index) const override { return static_cast<int>(index % 2); }
  int channels() const override { return 1; }
  int height() const override { return 2; }
  int width() const override { return 2; }
  Image read(std::int64_t index, ReadScratch&) const override {
    reads.fetch_add(1);
    if (delay.count() > 0) std::this_thread::sleep_for(delay);
    if (slow.contains(index)) std::this_thread::sleep_for(std::chrono::milliseconds(3));
    if (internal.contains(index)) throw InternalError("probe " + std::to_string(index));
    if (bad.contains(index)) throw UserError(name(index) + ": broken", ExitCode::kData);
    return {pixels, 2, 2, 1};
  }
  std::string name(std::int64_t index) const override { return "probe " + std::to_string(index); }
  std::string describe() const override { return "probe"; }
  std::string digest() const override { return {}; }

  std::set<std::int64_t> bad, internal, slow;
  std::chrono::microseconds delay{0};
  mutable std::atomic<int> reads{0};

 private:
  std::int64_t size_;
  std::uint8_t pixels[4] = {1, 2, 3, 4};
};

}  // namespace lockstep::test
