// Transport: non-blocking messages between ranks; what Open MPI, or shared memory between threads, must provide.
//
// Used by one thread per rank (the communication thread). Messages between two ranks with one tag arrive in order.
// Memory given to send and receive must stay valid until test() said true or abandon() returned.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace lockstep {

struct Request {
  std::int32_t slot = -1;  // transport's index; < 0: nothing, or complete
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string_view name() const = 0;
  virtual std::string host() const = 0;

  virtual Request send(int to, int tag, const void* data, std::size_t nbytes) = 0;
  virtual Request receive(int from, int tag, void* data, std::size_t nbytes) = 0;
  virtual bool test(Request& request) = 0;  // true: complete (the request becomes nothing). Drives progress.
  virtual void abandon() = 0;               // drops everything outstanding, after a failure

  // Control messages: small, buffered, on a channel of their own.
  virtual void send_control(int to, std::span<const std::byte> message) = 0;
  virtual bool poll_control(std::vector<std::byte>& message) = 0;

  // Ends the processes of all ranks, this one included, if the transport can; peers have been told already.
  virtual void end_processes(ExitCode code) = 0;
  virtual bool can_end_processes() const = 0;
  virtual void close() = 0;  // after the last operation, on all ranks
};

}  // namespace lockstep
