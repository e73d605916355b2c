// SPDX-License-Identifier: Apache-2.0
#include "core/error.h"

#include <cstring>

namespace lockstep {

void throw_errno(std::string_view call, std::string_view path, int error_number, ExitCode code) {
  std::string message(call);
  message.append(" ").append(path).append(": ").append(std::strerror(error_number));
  throw EnvironmentError(message, code);
}

namespace detail {

void check_failed(const char* condition, const std::string& message, std::source_location where) {
  throw InternalError(std::string(where.file_name()) + ":" + std::to_string(where.line()) + ": " + message +
                      " (check failed: " + condition + ")\nThis is a bug in lockstep: please report it.");
}

}  // namespace detail
}  // namespace lockstep
