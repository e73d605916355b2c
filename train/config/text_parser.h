// Protobuf text format with our limits: recursion at most 32 deep, duplicate fields refused, errors with their place.
//
// Private to train/config. Protobuf stops at the first error and gives only the bare name of a message type; the
// scanner here finds the path of the enclosing groups, so that the message can speak in the user's terms.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/text_format.h>

#include <string>
#include <string_view>

#include "train/config/reflect.h"

namespace lockstep::config_detail {

// Parses `text` into `message` (cleared first). Throws UserError(kUsage). `source` is named in the error, followed by
// line and column if `with_place`; `where` is the path of `message` in the config. `locations` may be null.
void parse_text(std::string_view text, const std::string& source, bool with_place, const std::string& where,
                Message* message, google::protobuf::TextFormat::ParseInfoTree* locations);

}  // namespace lockstep::config_detail
