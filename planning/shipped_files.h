// ShippedFiles: descriptions that lockstep comes with, found by name: configs/devices/h100.pbtxt is the device "h100".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

struct NamedText {
  std::string path;  // as it was found
  std::string text;
};

// The names there are in configs/<folder>, sorted. The folder is looked for beside the running program's installation
// (../share/lockstep/configs), in the source tree around it, and in the source tree that it was built from; empty if it is in none.
std::vector<std::string> shipped_names(std::string_view folder);

// `name_or_path`: one of those names, or a path (it holds a '/' or ends in ".pbtxt"). At most 1 MiB. Throws UserError: kUsage for an
// unknown name, with a suggestion and the list (`kind` says of what: "device"), kNoInput for a path that is no readable file.
NamedText read_shipped(std::string_view kind, std::string_view folder, const std::string& name_or_path);

}  // namespace lockstep
