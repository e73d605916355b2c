// SPDX-License-Identifier: Apache-2.0
#include "distributed/shared_segment.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <new>

#include "core/error.h"

namespace lockstep {
namespace {

constexpr std::size_t kPage = 4096;
// Address space, not memory: pages exist as far as extend() has taken them.
constexpr std::size_t kCapacity = std::size_t{16} << 30;
static_assert(sizeof(SegmentHeader) <= kPage);

// This process's segments, by nonce. Never destroyed: segments may outlive every static.
struct Registry {
  std::mutex mutex;
  std::map<std::uint64_t, std::weak_ptr<SharedSegment>> segments;
};
Registry& own() {
  static auto* registry = new Registry;
  return *registry;
}

std::string why(const char* call) { return fmt::format("{}: {}", call, std::strerror(errno)); }

std::byte* map_file(int fd) {
  void* base = ::mmap(nullptr, kCapacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (base == MAP_FAILED) return nullptr;
  ::madvise(base, kCapacity, MADV_DONTDUMP);
  return static_cast<std::byte*>(base);
}

// 0, or an errno. Past a limit on file sizes the system would send a signal that kills, so that is looked up first.
int take_memory(int fd, std::uint64_t from, std::size_t nbytes) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < from + nbytes) return EFBIG;
  int result = 0;
  do
    result = ::posix_fallocate(fd, static_cast<off_t>(from), static_cast<off_t>(nbytes));
  while (result == EINTR);
  return result;
}

}  // namespace

std::shared_ptr<SharedSegment> SharedSegment::create(std::string& reason) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    reason = "file sizes are limited (ulimit -f)";
    return nullptr;
  }
  SegmentAddress address{.pid = ::getpid()};
  while (address.nonce == 0)
    if (::getrandom(&address.nonce, sizeof address.nonce, 0) != sizeof address.nonce) {
      reason = why("getrandom");
      return nullptr;
    }
  address.fd = ::memfd_create("lockstep", MFD_CLOEXEC);
  if (address.fd < 0) {
    reason = why("memfd_create");
    return nullptr;
  }
  errno = take_memory(address.fd, 0, kPage);
  std::byte* base = errno == 0 ? map_file(address.fd) : nullptr;
  if (base == nullptr) {
    reason = why("mapping shared memory");
    ::close(address.fd);
    return nullptr;
  }
  std::shared_ptr<SharedSegment> segment(new SharedSegment(base, address));
  segment->owner_ = true;
  segment->size_ = kPage;
  (new (base) SegmentHeader)->nonce = address.nonce;
  const std::lock_guard lock(own().mutex);
  own().segments[address.nonce] = segment;
  return segment;
}

std::shared_ptr<SharedSegment> SharedSegment::open(const SegmentAddress& address, std::string& reason) {
  {
    const std::lock_guard lock(own().mutex);
    if (const auto found = own().segments.find(address.nonce); found != own().segments.end())
      if (auto segment = found->second.lock()) return segment;
  }
  const std::string path = fmt::format("/proc/{}/fd/{}", address.pid, address.fd);
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    reason = why(("open " + path).c_str());
    return nullptr;
  }
  struct stat status {};
  const bool has_header = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size >= static_cast<off_t>(kPage);
  errno = EINVAL;
  std::byte* base = has_header ? map_file(fd) : nullptr;
  if (base == nullptr) reason = why(("map " + path).c_str());
  ::close(fd);
  if (base == nullptr) return nullptr;
  std::shared_ptr<SharedSegment> segment(new SharedSegment(base, address));
  if (segment->header().nonce == address.nonce) return segment;
  reason = path + " belongs to another process";
  return nullptr;
}

SharedSegment::~SharedSegment() {
  ::munmap(base_, kCapacity);
  if (!owner_) return;
  ::close(address_.fd);
  const std::lock_guard lock(own().mutex);
  own().segments.erase(address_.nonce);
}

std::uint64_t SharedSegment::offset_of(const void* memory) const {
  const auto address = reinterpret_cast<std::uintptr_t>(memory), base = reinterpret_cast<std::uintptr_t>(base_);
  return address > base && address < base + kCapacity ? address - base : 0;
}

std::uint64_t SharedSegment::extend(std::size_t nbytes) {
  const std::size_t rounded = (nbytes + kPage - 1) / kPage * kPage;
  const int result = size_ + rounded > kCapacity ? ENOMEM : take_memory(address_.fd, size_, rounded);
  if (result != 0)
    throw EnvironmentError(fmt::format("out of shared memory: wanted {} bytes more than {}: {}; lower distributed.bucket_mb or "
                                       "raise the memory limit",
                                       rounded, size_, std::strerror(result)));
  size_ += rounded;
  return size_ - rounded;
}

}  // namespace lockstep
