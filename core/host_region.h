// HostRegion: a long piece of the host's address space that becomes memory from its beginning on, in 2 MB pages where the
// system has them (a ResNet-50 step is 2 to 3 % faster than in 4 kB pages, and its first one takes a third of the faults).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace lockstep {

class HostRegion {
 public:
  static constexpr std::size_t kHugePage = std::size_t{1} << 21;

  // Address space alone, no memory: `nbytes`, or less if the process may not have so much. EnvironmentError if it may not
  // have even 64 MB.
  HostRegion(std::size_t nbytes, bool huge_pages);
  ~HostRegion();
  HostRegion(const HostRegion&) = delete;
  HostRegion& operator=(const HostRegion&) = delete;

  std::byte* data() const { return data_; }      // aligned to 2 MB
  std::size_t capacity() const { return capacity_; }
  // Bytes [0, end) may be used; pages are made at their first touch. False when the system grants no more.
  bool commit(std::size_t end);
  std::size_t committed() const { return committed_; }
  void populate(std::size_t begin, std::size_t end);  // touches committed pages now. Blocks for about 0.1 s per GB.
  void set_inherited(bool inherited);                 // by processes forked from now on

 private:
  std::byte* mapping_ = nullptr;
  std::size_t mapping_bytes_ = 0;
  std::byte* data_ = nullptr;
  std::size_t capacity_ = 0;
  std::size_t committed_ = 0;
};

}  // namespace lockstep
