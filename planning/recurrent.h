// Recurrent layers, counted by formula: lockstep trains none, but `lockstep analyze --recurrent` weighs them beside the others. With
// B sequences and numbers of so many bits:
//
//   W = (IN + HID) HID GATES DIRS bits      A = B IN DIRS STATES SEQ bits      O = 2 B (IN + HID) HID GATES DIRS SEQ
//
// GATES: 1 plain, 3 GRU, 4 LSTM. DIRS: 2 for bidirectional. STATES: vectors kept for each step and input (1 plain and GRU, 2 LSTM).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "planning/analysis.h"

namespace lockstep {

struct RecurrentLayer {
  std::int64_t input = 1, hidden = 1, gates = 1, directions = 1, sequence = 1, states = 1;
};

// Biases (one for each gate's output) are vectors, and adding them is counted apart.
Work recurrent_work(const RecurrentLayer& layer, std::int64_t batch);

// "IN,HID,GATES,DIRS,SEQ,STATES", all 1 or more. Throws UserError.
RecurrentLayer parse_recurrent(std::string_view text);

NetworkCount count_recurrent(std::span<const RecurrentLayer> layers, std::int64_t batch);

}  // namespace lockstep
