// SPDX-License-Identifier: Apache-2.0
#include "data/bad_samples.h"

#include <fmt/format.h>

#include "core/error.h"

namespace lockstep {

void BadSamples::add(BadSample sample) {
  const std::lock_guard lock(mutex_);
  const std::string reason = sample.reason;
  samples_.try_emplace(sample.id, std::move(sample));
  const auto count = static_cast<std::int64_t>(samples_.size());
  count_.store(count, std::memory_order_release);
  if (count > budget_)
    throw UserError(
        fmt::format("{}\nBad training samples: got {}, want at most {} (max_bad_samples).", reason, count, budget_),
        ExitCode::kData);
}

std::vector<BadSample> BadSamples::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<BadSample> all;
  for (const auto& [id, sample] : samples_) all.push_back(sample);
  return all;
}

}  // namespace lockstep
