// Tar archives: every member that is reported lies inside the archive, and its bytes can be read.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <vector>

#include "core/error.h"
#include "data/tar.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lockstep;
  try {
    TarReader reader(ByteRange(std::make_shared<MemoryFile>("fuzz.tar", std::vector<std::uint8_t>(data, data + size))), "fuzz.tar");
    std::uint64_t end = 0;  // of the member before
    std::vector<std::uint8_t> bytes;
    for (TarMember member; reader.next(member);) {
      fuzz_check(!member.name.empty() && member.name.size() <= kMaxTarName);
      fuzz_check(member.offset >= end && member.offset <= size && member.size <= size - member.offset);
      end = member.offset + member.size;
      bytes.resize(member.size);
      reader.read(member, bytes.data(), bytes.size());
      fuzz_check(std::equal(bytes.begin(), bytes.end(), data + member.offset));
    }
  } catch (const UserError& error) {
    fuzz_check(error.code() == ExitCode::kData);
  }
  return 0;
}
