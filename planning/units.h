// Numbers for people: 25.6 M, 102 MB, 3.91 TOP, 2.4 h.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace lockstep {

// Three significant digits and a prefix of thousands: quantity(4.089e9, "OP") is "4.09 GOP". 0 is "0 OP"; what is not finite, "-".
std::string quantity(double value, std::string_view unit);

// "950 us", "12.3 ms", "4.20 s"; from a minute on as duration_text (charts/number_text.h).
std::string time_text(double seconds);

// "12.0 J", "3.4 kWh".
std::string energy_text(double joules);

}  // namespace lockstep
