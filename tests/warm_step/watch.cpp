// SPDX-License-Identifier: Apache-2.0
#include "tests/warm_step/watch.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <utility>

// Makes a system call from a page of its own, which the filter lets through: how the handler makes those that it trapped.
asm(R"(
  .pushsection .text
  .balign 4096
  .globl lockstep_test_system_call
lockstep_test_system_call:
  mov %rdi, %rax
  mov %rsi, %rdi
  mov %rdx, %rsi
  mov %rcx, %rdx
  mov %r8, %r10
  mov %r9, %r8
  mov 8(%rsp), %r9
  syscall
  ret
  .balign 4096
  .popsection
)");
extern "C" long lockstep_test_system_call(long number, long a, long b, long c, long d, long e, long f);

namespace lockstep::test {
namespace {

constexpr long kMalloc = -1, kMutex = -2;

struct Event {
  long what;  // a system call's number, or one of the above
  std::array<void*, 40> frames;
  int depth;
};

thread_local std::array<Event, Watch::kMost>* events = nullptr;  // while this thread is watched
thread_local int event_count = 0;
thread_local bool inside = false;  // a hook: what it does itself does not count

void note(long what) {
  if (events == nullptr || inside || event_count == Watch::kMost) return;
  inside = true;
  Event& event = (*events)[static_cast<std::size_t>(event_count++)];
  event.what = what;
  event.depth = ::backtrace(event.frames.data(), static_cast<int>(event.frames.size()));
  inside = false;
}

void on_trapped_call(int, siginfo_t* info, void* context) {
  note(info->si_syscall);
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  registers[REG_RAX] = lockstep_test_system_call(info->si_syscall, registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
                                                 registers[REG_R10], registers[REG_R8], registers[REG_R9]);
}

std::string name_of(void* frame) {
  Dl_info info{};
  if (::dladdr(frame, &info) == 0) return "?";
  if (info.dli_sname == nullptr) return "? in " + std::filesystem::path(info.dli_fname).filename().string();
  int status = 0;
  char* plain = abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status);
  std::string name = status == 0 ? plain : info.dli_sname;
  std::free(plain);
  return name + " in " + std::filesystem::path(info.dli_fname).filename().string();
}

Sighting describe(const Event& event) {
  Sighting sighting{event.what == kMalloc ? "malloc" : event.what == kMutex ? "mutex" : "system call " + std::to_string(event.what), {}};
  for (int i = 1; i < event.depth; ++i) sighting.stack.push_back(name_of(event.frames[static_cast<std::size_t>(i)]));
  return sighting;
}

}  // namespace

bool trap_system_calls() {
  constexpr std::size_t kStackBytes = 1 << 17;  // never freed: the thread's last system call gives its own stack up
  stack_t stack{};
  stack.ss_sp = new std::byte[kStackBytes];
  stack.ss_size = kStackBytes;
  ::sigaltstack(&stack, nullptr);
  struct sigaction action {};
  action.sa_sigaction = on_trapped_call;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  ::sigaction(SIGSYS, &action, nullptr);

  const auto page = reinterpret_cast<std::uint64_t>(&lockstep_test_system_call);
  const auto high = static_cast<std::uint32_t>(page >> 32), low = static_cast<std::uint32_t>(page);
  constexpr std::uint32_t kPlace = offsetof(seccomp_data, instruction_pointer);
  std::array<sock_filter, 9> program{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 6, 0),  // the end of the handler
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kPlace + 4),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, high, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kPlace),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~std::uint32_t{4095}),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, low, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

Watch::Watch() {
  std::array<void*, 2> warm_up{};
  ::backtrace(warm_up.data(), 2);  // its first call allocates
  auto* fresh = new std::array<Event, kMost>;
  event_count = 0;
  events = fresh;
}

Watch::~Watch() { delete std::exchange(events, nullptr); }

std::vector<Sighting> Watch::stop() {
  auto* seen = std::exchange(events, nullptr);
  if (event_count == kMost) throw std::length_error("a watch saw more than it can hold");
  std::vector<Sighting> sightings;
  for (int i = 0; i < event_count; ++i) sightings.push_back(describe((*seen)[static_cast<std::size_t>(i)]));
  delete seen;
  return sightings;
}

void note_malloc() { note(kMalloc); }
void note_mutex() { note(kMutex); }

}  // namespace lockstep::test

extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* old, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) {
  lockstep::test::note_malloc();
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  lockstep::test::note_malloc();
  return __libc_calloc(count, size);
}
void* realloc(void* old, std::size_t size) {
  lockstep::test::note_malloc();
  return __libc_realloc(old, size);
}
void* memalign(std::size_t alignment, std::size_t size) {
  lockstep::test::note_malloc();
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  lockstep::test::note_malloc();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** block, std::size_t alignment, std::size_t size) {
  lockstep::test::note_malloc();
  *block = __libc_memalign(alignment, size);
  return *block == nullptr ? ENOMEM : 0;
}

int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  static const auto real = reinterpret_cast<int (*)(pthread_mutex_t*)>(::dlsym(RTLD_NEXT, "pthread_mutex_lock"));
  lockstep::test::note_mutex();
  return real(mutex);
}
}
