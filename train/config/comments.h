// The comments of config.proto at run time: its descriptor is compiled into the program and parsed on first use.
//
// Private to train/config.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace lockstep::config_detail {

// The comment above a message, field, enum or enum value, as one paragraph; "" if it has none. `full_name` as protobuf
// gives it: "lockstep.proto.Model.name". Thread-safe.
const std::string& comment_of(const std::string& full_name);

// The first sentence, for overviews.
std::string first_sentence(const std::string& comment);

// `text` broken into lines of at most `width` columns, each with `indent` spaces.
std::string wrapped(const std::string& text, size_t indent, size_t width = 100);

}  // namespace lockstep::config_detail
