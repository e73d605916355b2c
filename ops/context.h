// Context: what an op needs besides its inputs. One per shard and pass.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/norm_sync.h"
#include "core/parameter.h"
#include "core/philox.h"
#include "core/tape.h"
#include "ops/kernels.h"

namespace lockstep {

// Where batch norm leaves what a shard observed: averaged over shards once a step, then blended into the buffer.
class ObservationSink {
 public:
  virtual ~ObservationSink() = default;
  virtual Tensor observation(const Buffer& buffer) = 0;  // same shape and dtype as the buffer's value; overwritten
};

struct Context {
  Kernels& kernels;
  Tape* tape = nullptr;  // null: nothing is recorded
  bool training = false;
  Stream stream{};
  RandomKey dropout{};   // seed, step (a) and shard (high half of b); each dropout op takes the next low half
  NormSync* norm_sync = nullptr;           // null: batch norm sees this shard alone
  ObservationSink* observations = nullptr;  // null: batch statistics are not kept

  bool recording() const { return tape != nullptr; }
  Var use(const Parameter& parameter) { return recording() ? tape->parameter(parameter) : Var{parameter.operand(), -1}; }
  RandomKey next_dropout_key() {
    RandomKey key = dropout;
    ++dropout.b;
    return key;
  }
};

}  // namespace lockstep
