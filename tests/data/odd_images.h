// One image file of each odd or damaged kind that real data sets have, or that somebody hostile could put into one; made here,
// byte by byte where a library would refuse.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/scan.h"
#include "tests/data/test_support.h"

namespace lockstep::test {

struct OddImage {
  std::string name;  // of the file; sorts by kind, and its extension may lie
  Bytes bytes;
  std::optional<ScanKind> unreadable = {};  // why; none: it decodes
  std::vector<ScanKind> notes = {};         // of one that decodes, in order
  bool bomb = false;                        // claims to be far larger than it is
};

// The same bytes every time; no two alike. Made once.
const std::vector<OddImage>& odd_images();

}  // namespace lockstep::test
