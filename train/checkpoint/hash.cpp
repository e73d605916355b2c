// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint/hash.h"

#include <xxhash.h>

#include <charconv>
#include <new>

namespace lockstep {

std::string Hash128::hex() const {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text(32, '0');
  for (std::size_t i = 0; i < 16; ++i) {
    text[15 - i] = kDigits[(high >> (4 * i)) & 15];
    text[31 - i] = kDigits[(low >> (4 * i)) & 15];
  }
  return text;
}

bool Hash128::parse(std::string_view hex, Hash128& out) {
  if (hex.size() != 32 || hex.find_first_not_of("0123456789abcdef") != std::string_view::npos) return false;
  std::from_chars(hex.data(), hex.data() + 16, out.high, 16);
  std::from_chars(hex.data() + 16, hex.data() + 32, out.low, 16);
  return true;
}

struct Hasher::State {
  XXH3_state_t* xxh = XXH3_createState();  // 64-byte aligned, as the library wants it
  ~State() { XXH3_freeState(xxh); }
};

Hasher::Hasher() : state_(std::make_unique<State>()) {
  if (state_->xxh == nullptr) throw std::bad_alloc();
  reset();
}

Hasher::~Hasher() = default;

void Hasher::reset() { XXH3_128bits_reset(state_->xxh); }

void Hasher::update(const void* data, std::size_t nbytes) { XXH3_128bits_update(state_->xxh, data, nbytes); }

Hash128 Hasher::value() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_->xxh);
  return {hash.high64, hash.low64};
}

Hash128 hash_128(std::string_view bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.high64, hash.low64};
}

std::uint64_t hash_64(const void* data, std::size_t nbytes) { return XXH3_64bits(data, nbytes); }

}  // namespace lockstep
