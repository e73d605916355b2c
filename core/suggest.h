// "Did you mean ...?": the nearest of some names, by the number of typing errors that lie between.
//
// Used for config fields and values, networks, sub-commands and options.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

// Typing errors between two words: one letter inserted, lost, replaced, or two neighbours swapped. Letters' case and
// '-' against '_' do not count.
int typing_errors(std::string_view a, std::string_view b);

// The candidate with the fewest typing errors; "" if none is near enough to be meant (a third of its letters).
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace lockstep
