// ManifestHash: XXH3-128 over typed fields, each preceded by its length so that fields cannot run into each other.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lockstep {

class ManifestHash {
 public:
  explicit ManifestHash(std::string_view kind);  // "idx", "folder", ...: equal bytes of different kinds differ
  ~ManifestHash();
  ManifestHash(const ManifestHash&) = delete;
  ManifestHash& operator=(const ManifestHash&) = delete;

  void add(std::int64_t value);
  void add(std::string_view text) { add_bytes(text.data(), text.size()); }
  void add_bytes(const void* data, std::size_t size);
  std::string hex() const;  // 32 digits

 private:
  void* state_;  // XXH3_state_t: its header is too heavy to be included here
};

}  // namespace lockstep
