// The helper process of CheckpointSaver and its two channels: shared memory for the state, a socket for orders and answers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "train/checkpoint/checkpoint_store.h"

namespace lockstep {

// What the helper says about one save.
struct SaveAnswer {
  SaveReport report;
  std::vector<std::string> warnings;
  std::string error;  // empty: saved
  ExitCode code = ExitCode::kIo;
};

std::string encode_answer(const SaveAnswer& answer);
SaveAnswer decode_answer(const std::string& text);

// Memory shared by two processes, grown on demand by the one and mapped for reading by the other.
class SharedMemory {
 public:
  SharedMemory();
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  int file() const { return file_; }
  // At least `nbytes`; the contents are lost when it grows. EnvironmentError when there isn't enough memory.
  std::byte* grow(std::size_t nbytes);

 private:
  int file_;
  std::byte* data_ = nullptr;
  std::size_t nbytes_ = 0;
};

// A state as it lies in shared memory: [manifest][tensors, each 64-byte aligned]. The manifest's offsets are offsets
// into this memory.
struct SaveOrder {
  std::uint64_t memory_nbytes = 0;
  std::uint64_t manifest_nbytes = 0;
};
SaveOrder snapshot(const TrainingState& state, bool is_best, SharedMemory& memory);

// One forked helper. Losing the connection ends it.
class HelperProcess {
 public:
  HelperProcess(const std::string& directory, Fs& fs, const CheckpointOptions& options, const SharedMemory& memory);
  ~HelperProcess();  // disconnects; waits up to 5 s for the process to end
  HelperProcess(const HelperProcess&) = delete;
  HelperProcess& operator=(const HelperProcess&) = delete;

  void send(const SaveOrder& order);
  // Nothing when no answer came within `timeout_s`. A helper that has died gives an answer that says so; alive() is then false.
  std::optional<SaveAnswer> receive(double timeout_s);
  bool alive() const { return socket_ >= 0; }
  int pid() const { return pid_; }

 private:
  std::string reap(double timeout_s);  // how it ended; empty when it hasn't

  int socket_ = -1;
  int pid_ = -1;
};

}  // namespace lockstep
