// The emulated device's insides: streams as queues of closures, events as points in them, recordings as graphs of closures.
//
// One lock guards all of it; closures run without it, so that one may wait for another thread's (ranks that meet).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/accelerator.h"

namespace lockstep::cuda::emulated {

using Work = std::function<void()>;

// A closure throws it when what it waits for (another rank) hasn't come: the device is at it still, and it will be run again.
struct NotYet {};

struct StreamState;

// The end of what a stream had been given when an event was recorded on it.
struct Point {
  StreamState* stream;
  std::uint64_t position;  // reached when the stream has run that many items
  bool reached = false;
  std::chrono::steady_clock::time_point when{};
  int times_asked = 0;
};

// What is recorded between begin_recording and end_recording: closures, each after those that it depends on.
struct Recording {
  struct Node {
    Work work;
    std::vector<int> after;
  };
  StreamState* origin = nullptr;
  std::vector<StreamState*> joined;  // origin too
  std::vector<Node> nodes;
  std::string broken;  // the first call that is not allowed meanwhile
  bool ended = false;
};

struct Item {
  Work work;                        // either this,
  std::shared_ptr<Point> wait_for;  // or run its stream up to there first,
  std::shared_ptr<Point> reach;     // or an event that was recorded here
};

struct StreamState {
  int device = 0;
  std::deque<Item> queue;
  std::uint64_t given = 0, run = 0;  // items, ever
  bool running = false;              // some thread runs its first item
  std::shared_ptr<Recording> recording;
  std::vector<int> last;             // recording's nodes that the next one comes after
};

struct EventState {
  int device = 0;
  std::shared_ptr<Point> point;  // null: never recorded, or recorded while `recording` recorded
  std::shared_ptr<Recording> recording;
  std::vector<int> after;
};

struct DeviceState {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<StreamState> streams;  // deques: they stay where they are
  std::deque<EventState> events;
};
DeviceState& state();

int current_device();  // this thread's
bool thread_records();  // between begin_recording and end_recording, which this thread called
void set_thread_records(bool records);

// To the end of the stream, or of what it records. The caller holds the lock.
void give(StreamState& stream, Work work);
// Runs what the stream was given until `position` items have run, and of other streams what its waits demand. Throws NotYet.
void run_until(StreamState& stream, std::uint64_t position);

[[noreturn]] void refuse(const std::string& what);  // EnvironmentError, as the CUDA runtime would

enum class MemoryKind : std::uint8_t { kDevice, kPinned, kPageable };
MemoryKind kind_of(const void* memory, std::size_t nbytes);

}  // namespace lockstep::cuda::emulated
