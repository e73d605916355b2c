// Numbers as people read them, in charts and reports.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace lockstep {

// At most `digits` significant digits, but all of a whole number's: "1,234", "0.0123", "1.2e-7", "3.5e12". "-" for NaN, "infinity".
std::string number_text(double value, int digits = 4);

// A share: "93.4 %".
std::string percent_text(double share, int decimals = 2);

// "8.2 s", "3 min 20 s", "2 h 05 min", "3 d 4 h"; "-" for NaN.
std::string duration_text(double seconds);

// "12.3 MB", "1.2 GB" (powers of ten).
std::string bytes_text(double bytes);

// A value at a tick of an axis whose ticks are `step` apart (0: logarithmic): "10,000", "0.25", "2.5M", "1e-5".
std::string tick_text(double value, double step);

}  // namespace lockstep
