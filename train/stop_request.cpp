// SPDX-License-Identifier: Apache-2.0
#include "train/stop_request.h"

#include <csignal>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string_view>

namespace lockstep {
namespace {

std::atomic<int> stop_signal{0};
std::atomic<bool> stop_wanted{false};  // by request_stop
static_assert(std::atomic<int>::is_always_lock_free);  // safe in a signal handler

extern "C" void on_stop_signal(int signal_number) {
  if (signal_number == SIGINT && stop_signal.load() == SIGINT) _exit(128 + SIGINT);
  stop_signal.store(signal_number);
}

}  // namespace

void install_stop_handlers() {
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = SA_RESTART;
  for (const int signal_number : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2}) sigaction(signal_number, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // `lockstep train | head` is a write error, not a death
}

bool stop_requested() { return stop_signal.load() != 0 || stop_wanted.load(); }

void request_stop() { stop_wanted.store(true); }

void check_urgent_stop() {
  static const bool killed_soon = [] {
    const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
    return rank != nullptr && std::string_view(rank) == "0" && std::getenv("OMPI_MCA_odls_base_sigkill_timeout") == nullptr;
  }();
  if (killed_soon && stop_signal.load() == SIGTERM) throw UrgentStop{};
}

const char* stop_reason() {
  switch (stop_signal.load()) {
    case SIGTERM: return "SIGTERM";
    case SIGINT: return "SIGINT";
    case SIGUSR1: return "SIGUSR1";
    case SIGUSR2: return "SIGUSR2";
    default: return "";
  }
}

}  // namespace lockstep
