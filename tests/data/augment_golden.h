// What the tests of the augmentations share: the records of tests/golden/augment/augment.txt and the images that they are of.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "tests/data/test_support.h"

namespace lockstep::test {

// The fields of each line that begins with `kind`, without it.
std::vector<std::vector<std::string>> golden_lines(const std::string& kind);

double number(const std::string& text);  // decimal, or a hex double

// record_augment.py's test_image(): "noise", "dim", "flat" or "ramp"; (height, width, 3).
Bytes test_image(const std::string& kind, int height, int width);

// All 2^24 colours as a 4096 x 4096 image, and the digest that record_augment.py takes of one.
Bytes every_colour();
std::string digest_of_rows(const Bytes& image);

}  // namespace lockstep::test
