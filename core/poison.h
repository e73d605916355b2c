// Tells AddressSanitizer which of our memory is in use, so that it finds uses after release and beyond the end although
// the memory stays ours. Nothing in other builds.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace lockstep {

#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kPoisonGap = 64;  // bytes behind each block that nobody may touch
inline void poison(const void* data, std::size_t nbytes) { __asan_poison_memory_region(data, nbytes); }
inline void unpoison(const void* data, std::size_t nbytes) { __asan_unpoison_memory_region(data, nbytes); }
inline bool is_poisoned(const void* data) { return __asan_address_is_poisoned(data) != 0; }
#else
constexpr std::size_t kPoisonGap = 0;
inline void poison(const void*, std::size_t) {}
inline void unpoison(const void*, std::size_t) {}
inline bool is_poisoned(const void*) { return false; }
#endif

}  // namespace lockstep
