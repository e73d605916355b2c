// Numbers as people read them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace lockstep {

// A number's text with its whole digits in groups of three: "-1234567.5" -> "-1,234,567.5". No exponent.
std::string grouped_digits(std::string text);

}  // namespace lockstep
