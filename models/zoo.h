// Zoo: the table of networks by name. A new network is one line in zoo.cpp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "models/model.h"

namespace lockstep {

struct ZooEntry {
  std::string_view name;
  std::string_view about;  // one line for help
  std::unique_ptr<Model> (*build)(const ModelOptions&);
};

std::span<const ZooEntry> zoo();

}  // namespace lockstep
