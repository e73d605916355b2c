// QueuedCommunicator: the Communicator of several ranks. A queue, one communication thread that runs Collectives over a
// Transport, and the watch over deadlines. Sequence of a missed deadline: ask all ranks for their status (at most 0.3 s),
// judge, write the report file, let waiting calls throw; if none hears within 1 s, end the process by the hook.
//
// Tensors on a device travel through host memory (device_staging.h): wait blocks until they are back.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "distributed/collectives.h"
#include "distributed/communicator.h"
#include "distributed/device_staging.h"
#include "distributed/flight_recorder.h"
#include "distributed/shared_reduce.h"
#include "distributed/transport.h"

namespace lockstep {

// Work that runs elsewhere (on a GPU) and takes a place in the queue, so that it has a deadline and a verdict as any operation.
class Followed {
 public:
  virtual ~Followed() = default;
  // On the communication thread, again and again until true. `place`: follow's. Throws EnvironmentError when it will never be
  // done: the verdict's cause.
  virtual bool done(int place) = 0;
  virtual std::string where(int place) = 0;  // what it is at, for the verdict: "in bucket 3 of 12 (..)"; may be empty
  // This rank has failed, for whatever reason: ends what runs elsewhere, so that nobody waits for it. Once; returns soon.
  virtual void give_up() = 0;
};

class QueuedCommunicator final : public Communicator, private Waiter {
 public:
  // Starts the thread. connect() must follow, on all ranks at the same time.
  QueuedCommunicator(std::unique_ptr<Transport> transport, const CommunicatorOptions& options);
  ~QueuedCommunicator() override;
  void connect();  // learns the ranks' hosts, shares memory with those on the same: the first collectives

  int rank() const override { return transport_->rank(); }
  int size() const override { return transport_->size(); }
  const std::string& host_of(int rank) const override { return hosts_[static_cast<std::size_t>(rank)]; }
  int local_rank() const override { return local_rank_; }
  std::string_view transport() const override { return transport_name_; }
  Tensor make_buffer(const Shape& shape, DType dtype) override;

  using Communicator::barrier;
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all, std::string_view label) override;
  void broadcast(std::span<std::byte> bytes, int root, std::string_view label) override;
  void barrier(std::string_view label) override;
  Ticket all_reduce_async(Tensor buffer, const ReduceOptions& options, std::string_view label) override;
  OperationTimes wait(Ticket ticket) override;
  void check() override;
  void set_activity(std::int64_t step, const char* activity) override;
  void set_report_dir(const std::string& directory) override;
  void set_deadline(double seconds) override;
  void abort(ExitCode code, const std::string& message) override;
  void finalize() override;

  // For communicators built on this one. Set it once, before follow(); it must outlive this.
  void set_followed(Followed* followed);
  // The next operation is what runs elsewhere at `place`, on all ranks alike. wait for it like for any. `step` is for reports; -1:
  // set_activity's.
  Ticket follow(int place, std::size_t nbytes, std::string_view label, std::int64_t step = -1);

 private:
  enum class Kind : std::uint8_t { kAllReduce, kStagedAllReduce, kAllGather, kBroadcast, kFollow };
  struct Operation {
    std::uint64_t number = 0;
    Kind kind = Kind::kAllReduce;
    Tensor buffer;                       // kAllReduce
    ReduceOptions options;
    int root = 0;
    int place = 0;                       // kFollow
    std::vector<std::byte> mine, bytes;  // small operations work on copies: a failed one may outlive its caller
    OperationTimes times;
  };
  struct Failure {
    ExitCode code = ExitCode::kEnvironment;
    std::string message;
  };
  struct FollowedFailed {
    Failure failure;
  };
  static constexpr std::uint64_t kSlots = DeviceStaging::kSlots;  // operations queued and not yet done

  // The caller's side.
  template <class Fill>
  Ticket submit(std::string_view label, std::size_t nbytes, Fill fill, std::int64_t step = -1);
  const Operation& finished(Ticket ticket);
  [[noreturn]] void throw_failure();  // with the lock held

  // The communication thread's side.
  void thread_main();
  Operation* next_operation();
  void execute(Operation& operation);
  void run(Operation& operation);
  void run_followed(const Operation& operation);
  void reduce_staged(Operation& operation, int tag);
  void wait_for(const std::function<bool()>& done);
  void progressed() override { waiting_since_ns_ = 0; }
  void pause() override;
  void serve();  // control messages, aborts. Throws when a peer has aborted
  void serve_control();
  void handle_control(std::span<const std::byte> message);
  void tell_abort(const Failure& failure);
  Status own_status();
  void give_verdict(const Operation& operation, ExitCode code, const std::string& cause);
  std::vector<std::optional<Status>> ask_everybody();
  std::string write_report(const std::vector<std::optional<Status>>& statuses, const std::string& path) const;
  void fail(Failure failure, double hold_seconds);
  void serve_for(double seconds, const std::function<bool()>& until);
  void stop_thread();

  std::unique_ptr<Transport> transport_;
  Collectives collectives_;
  std::function<void(ExitCode, const std::string&)> on_abandoned_;
  const bool share_memory_;
  std::vector<std::string> hosts_;
  std::string transport_name_;
  std::unique_ptr<SharedReduce> shared_;  // null: ranks exchange messages only
  std::unique_ptr<DeviceStaging> staging_;  // null: no tensor on a device came yet
  Followed* followed_ = nullptr;
  int local_rank_ = 0;
  const std::int64_t start_ns_;
  std::atomic<double> deadline_seconds_;
  std::atomic<std::int64_t> step_{0};
  std::atomic<const char*> activity_{""};

  std::mutex mutex_;
  std::condition_variable work_, done_;
  std::vector<Operation> slots_;
  FlightRecorder recorder_;
  std::string report_dir_;
  std::uint64_t submitted_ = 0, completed_ = 0;
  std::optional<Failure> failure_;                          // set: nothing more is executed
  bool surfaced_ = false, heard_ = false;                   // callers may throw it; a caller has thrown it
  std::optional<Failure> abort_request_;
  bool abort_done_ = false;
  std::atomic<bool> stop_{false};

  std::int64_t waiting_since_ns_ = 0;                       // communication thread only, like all below. 0: not waiting
  std::int64_t deadline_ns_ = 0;                            // of the operation under way
  std::vector<std::byte> control_;
  std::vector<std::optional<Status>> answers_;
  std::optional<Failure> peer_abort_;
  std::thread thread_;                                      // last: everything above lives when it starts
};

}  // namespace lockstep
