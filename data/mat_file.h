// MAT-file, level 5: just enough to read the table of synsets in the ImageNet development kit, data/meta.mat.
//
// The file is a header of 128 bytes and a list of elements, each a type, a length and bytes; elements may be deflated.
// Little-endian files only. Damage is UserError(kData); nothing is believed before it was compared with what is there.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace lockstep {

// One struct of an array of structs: its text and whole-number fields; others are left out.
struct MatRecord {
  std::map<std::string, std::string> texts;
  std::map<std::string, std::int64_t> numbers;
};

// The array of structs called `variable`; empty when there is none. `name` for messages.
std::vector<MatRecord> read_mat_structs(std::span<const std::uint8_t> file, const std::string& variable, const std::string& name);

}  // namespace lockstep
