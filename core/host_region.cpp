// SPDX-License-Identifier: Apache-2.0
#include "core/host_region.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>

#include "core/error.h"

namespace lockstep {
namespace {

constexpr std::size_t kLeastCapacity = std::size_t{64} << 20;
constexpr std::size_t kCommitStep = std::size_t{32} << 20;  // few calls to the system, and little asked for in vain

std::size_t round_up(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

HostRegion::HostRegion(std::size_t nbytes, bool huge_pages) {
  void* mapping = MAP_FAILED;
  const std::size_t wanted = std::max(round_up(nbytes, kHugePage), kLeastCapacity);
  std::size_t capacity = wanted;
  const auto reserve = [&] {
    mapping_bytes_ = capacity + kHugePage;
    mapping = ::mmap(nullptr, mapping_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return mapping != MAP_FAILED;
  };
  while (!reserve() && capacity > kLeastCapacity) capacity = std::max(round_up(capacity / 2, kHugePage), kLeastCapacity);
  if (mapping != MAP_FAILED && capacity < wanted && capacity > 2 * kLeastCapacity) {  // a limit: leave half to all others
    ::munmap(mapping, mapping_bytes_);
    capacity = round_up(capacity / 2, kHugePage);
    reserve();
  }
  if (mapping == MAP_FAILED)
    throw EnvironmentError("out of address space: wanted " + std::to_string(kLeastCapacity) + " bytes; see ulimit -v");
  mapping_ = static_cast<std::byte*>(mapping);
  const auto address = reinterpret_cast<std::uintptr_t>(mapping);
  data_ = mapping_ + (round_up(address, kHugePage) - address);
  capacity_ = capacity;
  if (huge_pages) ::madvise(data_, capacity_, MADV_HUGEPAGE);  // a kernel without them keeps 4 kB pages
}

HostRegion::~HostRegion() { ::munmap(mapping_, mapping_bytes_); }

bool HostRegion::commit(std::size_t end) {
  if (end <= committed_) return true;
  if (end > capacity_) return false;
  const auto grow = [this](std::size_t to) {
    if (::mprotect(data_ + committed_, to - committed_, PROT_READ | PROT_WRITE) != 0) return false;
    committed_ = to;
    return true;
  };
  return grow(std::min(round_up(end, kCommitStep), capacity_)) || grow(std::min(round_up(end, kHugePage), capacity_));
}

void HostRegion::populate(std::size_t begin, std::size_t end) {
  constexpr std::size_t kPage = 4096;
  begin = begin / kPage * kPage;
  end = std::min(round_up(end, kPage), committed_);
  if (begin >= end || ::madvise(data_ + begin, end - begin, MADV_POPULATE_WRITE) == 0) return;
  for (std::size_t at = begin; at < end; at += kPage)  // Linux before 5.14. The page may be in use by now: change nothing
    std::atomic_ref(*reinterpret_cast<unsigned char*>(data_ + at)).fetch_or(0, std::memory_order_relaxed);
}

void HostRegion::set_inherited(bool inherited) { ::madvise(mapping_, mapping_bytes_, inherited ? MADV_DOFORK : MADV_DONTFORK); }

}  // namespace lockstep
