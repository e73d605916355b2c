// Applying one command-line setting to a config by reflection. Private to train/config.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "train/config/reflect.h"

namespace lockstep::config_detail {

// Throws UserError if the path names no field, the value does not fit, or an index is out of range.
void apply_override(const ConfigOverride& change, LoadedConfig::State* state);

}  // namespace lockstep::config_detail
