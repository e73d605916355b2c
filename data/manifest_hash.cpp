// SPDX-License-Identifier: Apache-2.0
#include "data/manifest_hash.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <new>

namespace lockstep {
namespace {

XXH3_state_t* hash_of(void* state) { return static_cast<XXH3_state_t*>(state); }

}  // namespace

ManifestHash::ManifestHash(std::string_view kind) : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(hash_of(state_));
  add(kind);
}

ManifestHash::~ManifestHash() { XXH3_freeState(hash_of(state_)); }

void ManifestHash::add(std::int64_t value) {
  unsigned char bytes[8];  // little-endian on every host
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<unsigned char>(static_cast<std::uint64_t>(value) >> (8 * i));
  XXH3_128bits_update(hash_of(state_), bytes, sizeof bytes);
}

void ManifestHash::add_bytes(const void* data, std::size_t size) {
  add(static_cast<std::int64_t>(size));
  XXH3_128bits_update(hash_of(state_), data, size);
}

std::string ManifestHash::hex() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(hash_of(state_));
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace lockstep
