// SPDX-License-Identifier: Apache-2.0
#include "core/rehearsal.h"

#include "core/error.h"
#include "core/host_arena.h"

namespace lockstep {
namespace {

thread_local bool rehearsing = false;

}  // namespace

Rehearsal::Rehearsal() : arena_(std::make_unique<HostArena>(false)) {
  LS_CHECK(!rehearsing, "a rehearsal within a rehearsal");
  arena_->set_owner(memory_thread_id());
  before_ = exchange_thread_arena(arena_.get());
  rehearsing = true;
}

Rehearsal::~Rehearsal() {
  rehearsing = false;
  exchange_thread_arena(before_);
  if (arena_->stats().in_use_bytes > 0) arena_.release()->set_owner(0);
}

std::size_t Rehearsal::peak_bytes() const { return arena_->stats().reserved_bytes; }

bool Rehearsal::active() { return rehearsing; }

}  // namespace lockstep
