// BadSampleList: the unreadable training samples of all ranks, and the budget for them (data.max_bad_samples), which
// counts over all ranks, epochs and resumes.
//
// Each rank's loader meets samples while it reads ahead; ranks bring their lists together when the run is saved and at the
// end of each epoch. Which samples are on the list says what was met; it enters no digest.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "data/bad_samples.h"
#include "distributed/communicator.h"

namespace lockstep {

class BadSampleList {
 public:
  explicit BadSampleList(std::int64_t budget) : budget_(budget) {}

  // Collective: what a checkpoint lists (name -> reason); rank 0's counts.
  void restore(std::map<std::string, std::string> saved, Communicator& comm);
  // Collective: adds what this rank's loader has met. On rank 0 the reasons of the new ones.
  std::vector<std::string> collect(const BadSamples& mine, Communicator& comm);

  std::int64_t count() const { return count_; }  // the same on every rank, as of the last collection
  bool over_budget() const { return count_ > budget_; }
  // Has this rank alone met more than the run may? Costs a load; to be asked after each step.
  bool alone_over_budget(const BadSamples& mine) const { return mine.count() > budget_; }
  const std::map<std::string, std::string>& samples() const { return samples_; }  // name -> reason; rank 0

  // UserError(kData): more than the budget. `what_now`: what is saved, and where the list lies.
  [[noreturn]] void throw_over_budget(const std::string& what_now) const;

 private:
  std::int64_t budget_, count_ = 0;
  std::string example_;  // the first new reason; the same on every rank
  std::map<std::string, std::string> samples_;
};

}  // namespace lockstep
