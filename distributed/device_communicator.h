// DeviceCommunicator: ranks with a GPU each. All-reduces of tensors on the device are given to a stream of their own and go by a
// DeviceTransport (NCCL); everything else goes by the host communicator, whose communication thread also watches over the device:
//
//     compute stream --event--> communication stream: all-reduce --event--> compute stream (wait)
//     host communicator's queue: "bucket 3 of 12", done when the event is: deadline, verdict, then DeviceTransport::abort
//
// A recorded step's all-reduces leave a mark in host memory as they pass, so that a verdict can say which bucket is stuck.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/accelerator.h"
#include "distributed/device_collectives.h"
#include "distributed/device_transport.h"
#include "distributed/queued_communicator.h"

namespace lockstep {

class DeviceCommunicator final : public Communicator, private Followed {
 public:
  // `make` is called by use_device.
  DeviceCommunicator(std::unique_ptr<QueuedCommunicator> host, MakeDeviceTransport make, const CommunicatorOptions& options);
  // Recorded steps must be gone. Without finalize(), ends this rank's part of what the device has under way.
  ~DeviceCommunicator() override;

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  const std::string& host_of(int rank) const override { return host_->host_of(rank); }
  int local_rank() const override { return host_->local_rank(); }
  std::string_view transport() const override { return name_; }
  Tensor make_buffer(const Shape& shape, DType dtype) override { return host_->make_buffer(shape, dtype); }

  using Communicator::barrier;
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all, std::string_view label) override {
    host_->all_gather(mine, all, label);
  }
  void broadcast(std::span<std::byte> bytes, int root, std::string_view label) override { host_->broadcast(bytes, root, label); }
  void barrier(std::string_view label) override { host_->barrier(label); }
  Ticket all_reduce_async(Tensor buffer, const ReduceOptions& options, std::string_view label) override;
  OperationTimes wait(Ticket ticket) override;

  bool on_device() const override { return true; }
  void use_device(Device device, const std::string& gpu) override;
  void begin_recorded_step() override;
  void end_recorded_step() override;
  void watch(std::int64_t step) override;
  void check() override { host_->check(); }

  void set_activity(std::int64_t step, const char* activity) override { host_->set_activity(step, activity); }
  void set_report_dir(const std::string& directory) override { host_->set_report_dir(directory); }
  void set_deadline(double seconds) override { host_->set_deadline(seconds); }
  void abort(ExitCode code, const std::string& message) override { host_->abort(code, message); }
  void finalize() override;

 private:
  static constexpr Ticket kDeviceTicket = Ticket{1} << 63;  // the host's have it not
  static constexpr int kPlaces = 2 * static_cast<int>(DeviceStaging::kSlots);  // more than the host's queue holds
  static constexpr int kStart = kPlaces, kEnd = kPlaces + 1;  // places of the transport's start and end

  struct Place {
    Event done;
    std::atomic<bool> given{false};  // the work and the event have been given to the stream
    bool replayed = false;           // a recorded step
  };

  // Followed: on the host communicator's thread.
  bool done(int place) override;
  std::string where(int place) override;
  void give_up() override;

  Place& next_place();
  void give(const Tensor& buffer, const ReduceOptions& options, Place& place);
  void mark_progress(std::size_t reduced);
  void make_marks();
  void pause() const;
  void await_verdict() const;

  std::unique_ptr<QueuedCommunicator> host_;
  const MakeDeviceTransport make_;
  const bool pretend_hosts_;
  std::string name_;
  std::shared_ptr<DeviceTransport> transport_;  // shared with the thread that aborts it
  Accelerator* accelerator_ = nullptr;          // null: use_device wasn't called
  std::optional<DeviceCollectives> collectives_;
  Stream compute_, stream_;
  Event ready_;
  std::array<Place, kPlaces> places_;
  std::uint64_t given_ = 0;  // operations

  bool recording_ = false;
  std::mutex labels_mutex_;           // verdicts read them
  std::vector<std::string> labels_;   // of the recorded step's all-reduces
  std::size_t recorded_bytes_ = 0;
  Tensor marks_;                      // on the device: 0, 1, 2, ..
  Tensor progress_;                   // on the host, page-locked: how many of the recorded step's all-reduces are done

  std::atomic<bool> closed_{false};
  std::mutex end_mutex_;
  std::future<void> aborted_;  // valid once the transport is being aborted
};

}  // namespace lockstep
