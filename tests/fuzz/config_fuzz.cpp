// Configs: what parses prints as a config that parses to the same values.
// SPDX-License-Identifier: Apache-2.0
#include "train/config/config.h"

#include "core/error.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lockstep;
  try {
    const LoadedConfig loaded = parse_config({reinterpret_cast<const char*>(data), size}, "fuzz.pbtxt");
    const std::string digest = config_digest(loaded.config());
    validate(loaded);
    const LoadedConfig again = parse_config(effective_config_text(loaded), "again.pbtxt");
    fuzz_check(config_digest(again.config()) == digest);
  } catch (const UserError& error) {
    fuzz_check(error.code() == ExitCode::kUsage);
  }
  return 0;
}
