// The emulated device's streams and events (cuda/runtime.h): work is queued and runs as late as the interface allows.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "core/error.h"
#include "cuda/launch.h"
#include "tests/emulated/device_state.h"

namespace lockstep::cuda {
namespace emulated {
namespace {

constexpr int kTimesNotDone = 2;  // how often done() says no before the device is taken to have got on by itself

thread_local int thread_device = 0;
thread_local bool thread_is_recording = false;

}  // namespace

DeviceState& state() {
  static auto* device_state = new DeviceState;  // never destroyed: static tensors may outlive it otherwise
  return *device_state;
}

int current_device() { return thread_device; }
bool thread_records() { return thread_is_recording; }
void set_thread_records(bool records) { thread_is_recording = records; }

void refuse(const std::string& what) { throw EnvironmentError("cuda (emulated device): " + what); }

void give(StreamState& stream, Work work) {
  if (stream.recording == nullptr) {
    stream.queue.push_back({.work = std::move(work), .wait_for = {}, .reach = {}});
    ++stream.given;
    return;
  }
  Recording& recording = *stream.recording;
  recording.nodes.push_back({std::move(work), stream.last});
  stream.last = {static_cast<int>(recording.nodes.size()) - 1};
}

namespace {

// Marks the stream's first item as run, whatever came of it; unless it is kept.
class ItemScope {
 public:
  ItemScope(StreamState& stream, Item& item) : stream_(stream), item_(item) {}
  ~ItemScope() {
    const std::lock_guard lock(state().mutex);
    if (kept_)
      stream_.queue.push_front(std::move(item_));
    else
      ++stream_.run;
    stream_.running = false;
    state().changed.notify_all();
  }
  ItemScope(const ItemScope&) = delete;
  ItemScope& operator=(const ItemScope&) = delete;
  void keep() { kept_ = true; }

 private:
  StreamState& stream_;
  Item& item_;
  bool kept_ = false;
};

void run_item(StreamState& stream, Item& item) {
  ItemScope scope(stream, item);
  try {
    if (item.work) item.work();
    if (item.wait_for) run_until(*item.wait_for->stream, item.wait_for->position);
  } catch (const NotYet&) {
    scope.keep();
    throw;
  }
  if (item.reach) {
    const std::lock_guard lock(state().mutex);
    item.reach->reached = true;
    item.reach->when = std::chrono::steady_clock::now();
  }
}

StreamState& stream_of(Stream stream) {
  LS_CHECK(stream.handle != nullptr, "cuda: work on the default stream");
  return *static_cast<StreamState*>(stream.handle);
}
EventState& event_of(Event event) {
  LS_CHECK(event.handle != nullptr, "cuda: an event that was never made");
  return *static_cast<EventState*>(event.handle);
}

// As in CUDA, the call fails and what was being recorded is lost.
[[noreturn]] void break_recording(Recording& recording, const std::string& what) {
  if (recording.broken.empty()) recording.broken = what;
  refuse(what);
}

// The event's point; null: never recorded. The caller holds the lock.
std::shared_ptr<Point> point_of(const EventState& event, const char* call) {
  if (event.recording != nullptr) break_recording(*event.recording, std::string(call) + " of an event that was recorded into a recording");
  return event.point;
}

}  // namespace

void run_until(StreamState& stream, std::uint64_t position) {
  for (;;) {
    Item item;
    {
      std::unique_lock lock(state().mutex);
      state().changed.wait(lock, [&] { return stream.run >= position || !stream.running; });
      if (stream.run >= position) return;
      LS_CHECK(!stream.queue.empty(), "emulated device: a stream has less than it was given");
      item = std::move(stream.queue.front());
      stream.queue.pop_front();
      stream.running = true;
    }
    run_item(stream, item);
  }
}

namespace {

void wait_until(StreamState& stream, std::uint64_t position) {
  for (;;) {
    try {
      return run_until(stream, position);
    } catch (const NotYet&) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  }
}

}  // namespace
}  // namespace emulated

using namespace emulated;

void enqueue_work(Stream stream, std::function<void()> work) {
  StreamState& to = stream_of(stream);
  if (to.device != current_device())
    refuse("a kernel for device " + std::to_string(to.device) + " is launched by a thread whose device is " + std::to_string(current_device()));
  const std::lock_guard lock(state().mutex);
  give(to, std::move(work));
}

void check_launch(const char*) {}  // enqueue_work has thrown

namespace runtime {

void use_device(int device) {
  if (device == thread_device) return;
  if (device < 0 || device >= device_count()) refuse("no device " + std::to_string(device));
  thread_device = device;
}

Stream new_stream() {
  const std::lock_guard lock(state().mutex);
  StreamState& stream = state().streams.emplace_back();
  stream.device = current_device();
  return {&stream};
}

Event new_event() {
  const std::lock_guard lock(state().mutex);
  EventState& event = state().events.emplace_back();
  event.device = current_device();
  return {&event};
}

void record(Event event, Stream stream) {
  StreamState& on = stream_of(stream);
  EventState& of = event_of(event);
  if (of.device != on.device) refuse("an event of device " + std::to_string(of.device) + " is recorded on device " + std::to_string(on.device));
  const std::lock_guard lock(state().mutex);
  of.recording = on.recording;
  of.after = on.last;
  of.point = nullptr;
  if (on.recording != nullptr) return;
  of.point = std::make_shared<Point>(Point{.stream = &on, .position = ++on.given});
  on.queue.push_back({.work = {}, .wait_for = {}, .reach = of.point});
}

void wait(Stream stream, Event event) {
  StreamState& on = stream_of(stream);
  const EventState& until = event_of(event);
  const std::lock_guard lock(state().mutex);
  if (until.recording != nullptr) {
    if (until.recording->ended) refuse("a stream waits for an event of a recording that has ended");
    if (on.recording == nullptr) {  // joins
      on.recording = until.recording;
      on.recording->joined.push_back(&on);
    }
    if (on.recording != until.recording) break_recording(*on.recording, "a stream of one recording waits for an event of another");
    for (const int node : until.after)
      if (std::find(on.last.begin(), on.last.end(), node) == on.last.end()) on.last.push_back(node);
    return;
  }
  if (until.point == nullptr) return;
  if (on.recording != nullptr) break_recording(*on.recording, "a stream that is being recorded waits for work that is not");
  on.queue.push_back({.work = {}, .wait_for = until.point, .reach = {}});
  ++on.given;
}

bool done(Event event) {
  std::shared_ptr<Point> point;
  {
    const std::lock_guard lock(state().mutex);
    point = point_of(event_of(event), "done()");
    if (point == nullptr || point->reached) return true;
    if (point->times_asked++ < kTimesNotDone) return false;
  }
  try {
    run_until(*point->stream, point->position);
  } catch (const NotYet&) {
    return false;
  }
  return true;
}

void synchronize(Event event) {
  std::shared_ptr<Point> point;
  {
    const std::lock_guard lock(state().mutex);
    point = point_of(event_of(event), "synchronize()");
  }
  if (point != nullptr) wait_until(*point->stream, point->position);
}

void synchronize(Stream stream) {
  StreamState& on = stream_of(stream);
  std::uint64_t position = 0;
  {
    const std::lock_guard lock(state().mutex);
    if (on.recording != nullptr) break_recording(*on.recording, "synchronize() of a stream that is being recorded");
    position = on.given;
  }
  wait_until(on, position);
}

double elapsed_ms(Event begin, Event end) {
  const std::lock_guard lock(state().mutex);
  const std::shared_ptr<Point> from = point_of(event_of(begin), "elapsed_ms()");
  const std::shared_ptr<Point> to = point_of(event_of(end), "elapsed_ms()");
  if (from == nullptr || to == nullptr || !from->reached || !to->reached) refuse("elapsed_ms() between events that are not done");
  return std::chrono::duration<double, std::milli>(to->when - from->when).count();
}

void copy(Stream stream, void* to, const void* from, std::size_t nbytes) {
  StreamState& on = stream_of(stream);
  if (nbytes == 0) return;
  const bool blocks = kind_of(to, nbytes) == MemoryKind::kPageable || kind_of(from, nbytes) == MemoryKind::kPageable;
  {
    const std::lock_guard lock(state().mutex);
    if (!blocks) return give(on, [=] { std::memcpy(to, from, nbytes); });
    if (on.recording != nullptr) break_recording(*on.recording, "a copy of host memory that is not page-locked can't be recorded");
  }
  synchronize(stream);
  std::memcpy(to, from, nbytes);
}

void fill_zero(Stream stream, void* at, std::size_t nbytes) {
  if (nbytes == 0) return;
  if (kind_of(at, nbytes) != MemoryKind::kDevice) refuse("fill_zero() of memory that is not the device's");
  const std::lock_guard lock(state().mutex);
  give(stream_of(stream), [=] { std::memset(at, 0, nbytes); });
}

}  // namespace runtime
}  // namespace lockstep::cuda
