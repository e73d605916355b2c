// Kept indexes: damage is noticed by their checksum, so here every input gets the right one; what is then accepted is consistent.
// SPDX-License-Identifier: Apache-2.0
#include <xxhash.h>

#include <cstring>
#include <vector>

#include "data/index_cache.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lockstep;
  std::vector<std::uint8_t> bytes(data, data + size);
  const std::uint64_t checksum = XXH3_64bits(data, size);
  bytes.resize(size + sizeof checksum);
  std::memcpy(bytes.data() + size, &checksum, sizeof checksum);
  const test::FuzzFile file(bytes);
  const std::optional<SampleIndex> index = load_index(file.path(), {});
  if (!index) return 0;
  fuzz_check(index_fault(*index).empty());
  std::size_t names = 0;
  for (std::size_t i = 0; i < index->entries.size(); ++i) names += index->base_name(i).size();
  fuzz_check(names <= index->names.size());
  return 0;
}
