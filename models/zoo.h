// Zoo: the table of networks by name. A new network is one line in zoo.cpp. docs/networks.md says where each comes from.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "models/model.h"

namespace lockstep {

// Which of ModelOptions' choices a network has; another one, unless it has its default value, is an error.
enum NetworkChoice : std::uint8_t {
  kChoiceVariant = 1,  // v1
  kChoiceStem = 2,
  kChoiceZeroGamma = 4,
  kChoiceBaseWidth = 8,
  kChoiceDropout = 16,
  kChoiceWidthMultiplier = 32,
};

struct ZooEntry {
  std::string_view name;
  std::string_view about;  // one line for help
  int side;                // height and width of the images that it was published with
  std::uint8_t choices;    // NetworkChoice, or-ed
  std::unique_ptr<Model> (*build)(const ModelOptions&);
};

std::span<const ZooEntry> zoo();

// A choice's field in the config's group model, and the value that leaves it to the network.
struct ChoiceField {
  NetworkChoice choice;
  std::string_view field, unset;
};
std::span<const ChoiceField> choice_fields();

// Height and width of the images that the network called `name` was published with; 224 for an unknown name.
int published_side(std::string_view name);

}  // namespace lockstep
