// XXH3-128 and XXH3-64: the checksums of checkpoints. hex() prints what `xxh128sum` prints. They find damage, not
// forgery: nothing here is a signature.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace lockstep {

struct Hash128 {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  bool operator==(const Hash128&) const = default;
  std::string hex() const;                              // 32 lower-case digits, high half first
  static bool parse(std::string_view hex, Hash128& out);  // false when it isn't 32 lower-case hex digits
};

// Hashes a stream of bytes.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  void reset();
  void update(const void* data, std::size_t nbytes);
  Hash128 value() const;  // of everything since the start or reset

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Hash128 hash_128(std::string_view bytes);
std::uint64_t hash_64(const void* data, std::size_t nbytes);

}  // namespace lockstep
