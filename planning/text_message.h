// Descriptions in protobuf text format (devices, clusters), read with errors that say the line and what was meant.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace google::protobuf {
class Message;
}

namespace lockstep {

// Parses `text` into `message` (cleared first). Throws UserError(kUsage) with "file:line:column", for an unknown field or value with
// the nearest and all legal names. Groups may be 8 deep.
void parse_text_message(std::string_view text, const std::string& file, google::protobuf::Message& message);

// The message as text, one field a line, numbers in the shortest form that reads back to the same.
std::string print_text_message(const google::protobuf::Message& message);

}  // namespace lockstep
