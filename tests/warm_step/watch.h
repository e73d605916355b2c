// Watch: what this thread asks of malloc, of mutexes and of the system while one lives, and from where.
//
// malloc, its relatives and pthread_mutex_lock are replaced in this program. System calls are trapped with seccomp, so also
// those that no library function of a known name makes (futex). Linux on x86-64.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace lockstep::test {

// "malloc" or "mutex" or "system call 202", and the functions under it, innermost first, as far as their names are known.
struct Sighting {
  std::string what;
  std::vector<std::string> stack;
};

// False when the kernel forbids seccomp here: then only malloc and mutexes are seen. For the rest of the thread's life.
bool trap_system_calls();

class Watch {
 public:
  Watch();
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  // What was seen so far; watching ends. The first kMost; more are a failure of the test's, so stop() then throws.
  std::vector<Sighting> stop();

  static constexpr int kMost = 1 << 14;
};

}  // namespace lockstep::test
