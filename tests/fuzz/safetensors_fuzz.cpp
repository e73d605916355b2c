// Safetensors: header and tensors of a file from elsewhere.
// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint/safetensors.h"

#include "core/error.h"
#include "tests/checkpoint/memory_fs.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lockstep;
  test::MemoryFs fs;
  fs.close(fs.open_new("/fuzz.safetensors"));
  fs.contents("/fuzz.safetensors").assign(reinterpret_cast<const char*>(data), size);
  try {
    const SafetensorsFile file(fs, "/fuzz.safetensors");
    for (const SafetensorsEntry& entry : file.header().entries) {
      fuzz_check(entry.offset <= size && entry.nbytes <= size - entry.offset);
      fuzz_check(file.find(entry.name) != nullptr);
      const Tensor tensor = file.read(entry);
      fuzz_check(tensor.shape() == entry.shape && tensor.dtype() == entry.dtype && static_cast<std::uint64_t>(tensor.nbytes()) == entry.nbytes);
    }
  } catch (const UserError& error) {
    fuzz_check(error.code() == ExitCode::kData);
  }
  return 0;
}
