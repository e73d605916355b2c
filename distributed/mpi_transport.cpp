// The MPI transport, and the choice between it and a single local rank. Only this file and mpi_yardstick.cpp know mpi.h.
//
// MPI needs MPI_THREAD_SERIALIZED: after start-up only the communication thread calls it, until it has been joined.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <mpi.h>

#include <chrono>
#include <climits>
#include <cstdlib>
#include <list>
#include <thread>

#include "distributed/communicator.h"
#include "distributed/device_communicator.h"
#include "distributed/launch_environment.h"
#include "distributed/queued_communicator.h"

namespace lockstep {
namespace {

constexpr int kControlTag = 0;

std::string host_name() {
  char name[MPI_MAX_PROCESSOR_NAME] = "?";
  int length = 0;
  MPI_Get_processor_name(name, &length);
  return std::string(name, static_cast<std::size_t>(length));
}

// Every MPI call's result comes here.
void check(int result, const char* call, int rank) {
  if (result == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(result, text, &length);
  throw EnvironmentError(fmt::format("{} failed on rank {} ({}): {}", call, rank, host_name(), text));
}

bool mpi_is_running() {
  int initialized = 0, finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  return initialized != 0 && finalized == 0;
}

class MpiTransport final : public Transport {
 public:
  MpiTransport() {
    check(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank", -1);
    check(MPI_Comm_size(MPI_COMM_WORLD, &size_), "MPI_Comm_size", rank_);
    check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler", rank_);
    check(MPI_Comm_dup(MPI_COMM_WORLD, &data_), "MPI_Comm_dup", rank_);
    check(MPI_Comm_dup(MPI_COMM_WORLD, &control_), "MPI_Comm_dup", rank_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string_view name() const override { return "mpi"; }
  std::string host() const override { return host_name(); }

  Request send(int to, int tag, const void* data, std::size_t nbytes) override {
    const Request request = new_request();
    check(MPI_Isend(data, count(nbytes), MPI_BYTE, to, tag, data_, &at(request)), "MPI_Isend", rank_);
    return request;
  }

  Request receive(int from, int tag, void* data, std::size_t nbytes) override {
    const Request request = new_request();
    check(MPI_Irecv(data, count(nbytes), MPI_BYTE, from, tag, data_, &at(request)), "MPI_Irecv", rank_);
    return request;
  }

  bool test(Request& request) override {
    if (request.slot < 0) return true;
    int done = 0;
    check(MPI_Test(&at(request), &done, MPI_STATUS_IGNORE), "MPI_Test", rank_);
    if (done == 0) return false;
    free_.push_back(request.slot);
    request.slot = -1;
    return true;
  }

  // A send can't be taken back in MPI. Nothing waits for the requests any more, and the job is about to end.
  void abandon() override {}

  void send_control(int to, std::span<const std::byte> message) override {
    drop_sent_control();
    ControlSend& send = control_sends_.emplace_back();
    send.message.assign(message.begin(), message.end());
    check(MPI_Isend(send.message.data(), count(send.message.size()), MPI_BYTE, to, kControlTag, control_, &send.request),
          "MPI_Isend", rank_);
  }

  bool poll_control(std::vector<std::byte>& message) override {
    int arrived = 0, nbytes = 0;
    MPI_Message handle = MPI_MESSAGE_NULL;
    MPI_Status status;
    check(MPI_Improbe(MPI_ANY_SOURCE, kControlTag, control_, &arrived, &handle, &status), "MPI_Improbe", rank_);
    if (arrived == 0) return false;
    check(MPI_Get_count(&status, MPI_BYTE, &nbytes), "MPI_Get_count", rank_);
    message.resize(static_cast<std::size_t>(nbytes));
    check(MPI_Mrecv(message.data(), nbytes, MPI_BYTE, &handle, MPI_STATUS_IGNORE), "MPI_Mrecv", rank_);
    return true;
  }

  void end_processes(ExitCode code) override {
    // What has been sent to peers gets a moment to leave.
    for (int i = 0; i < 10 && !control_sends_.empty(); ++i) {
      drop_sent_control();
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
  }
  bool can_end_processes() const override { return true; }
  void close() override {
    check(MPI_Comm_free(&data_), "MPI_Comm_free", rank_);
    check(MPI_Comm_free(&control_), "MPI_Comm_free", rank_);
    check(MPI_Finalize(), "MPI_Finalize", rank_);
  }

 private:
  struct ControlSend {
    std::vector<std::byte> message;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  void drop_sent_control() {
    std::erase_if(control_sends_, [this](ControlSend& send) {
      int done = 0;
      check(MPI_Test(&send.request, &done, MPI_STATUS_IGNORE), "MPI_Test", rank_);
      return done != 0;
    });
  }
  Request new_request() {
    if (free_.empty()) {
      requests_.push_back(MPI_REQUEST_NULL);
      return {static_cast<std::int32_t>(requests_.size()) - 1};
    }
    const Request request{free_.back()};
    free_.pop_back();
    return request;
  }
  MPI_Request& at(Request request) { return requests_[static_cast<std::size_t>(request.slot)]; }
  static int count(std::size_t nbytes) {
    LS_CHECK(nbytes <= INT_MAX, fmt::format("a message of {} bytes", nbytes));
    return static_cast<int>(nbytes);
  }

  int rank_ = 0, size_ = 1;
  MPI_Comm data_ = MPI_COMM_NULL, control_ = MPI_COMM_NULL;
  std::vector<MPI_Request> requests_;
  std::vector<std::int32_t> free_;
  std::list<ControlSend> control_sends_;  // a list: messages stay where they are
};

void start_mpi() {
  int provided = 0;
  if (mpi_is_running()) {
    check(MPI_Query_thread(&provided), "MPI_Query_thread", -1);
  } else {
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread", -1);
  }
  if (provided < MPI_THREAD_SERIALIZED)
    throw EnvironmentError(fmt::format("MPI offers thread level {}, lockstep needs MPI_THREAD_SERIALIZED ({})", provided,
                                       MPI_THREAD_SERIALIZED));
}

std::string mpi_library() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string version(text, static_cast<std::size_t>(length));
  return version.substr(0, version.find_first_of(",\n"));
}

std::unique_ptr<QueuedCommunicator> make_mpi_communicator(const LaunchEnvironment& environment, const CommunicatorOptions& options) {
  start_mpi();
  auto transport = std::make_unique<MpiTransport>();
  try {
    check_launcher_agrees(environment, transport->rank(), transport->size(), mpi_library());
  } catch (...) {
    transport->close();  // a singleton: nobody else is in it
    throw;
  }
  auto communicator = std::make_unique<QueuedCommunicator>(std::move(transport), options);
  communicator->connect();
  return communicator;
}

}  // namespace

std::unique_ptr<Communicator> make_communicator(CommunicatorKind kind, const CommunicatorOptions& options) {
  if (kind == CommunicatorKind::kLocal) return make_solo_communicator();
  const LaunchEnvironment environment = detect_launcher([](const char* name) { return std::getenv(name); });
  if (kind != CommunicatorKind::kMpi && !launched_by_mpi(environment)) return make_solo_communicator();
  if (kind == CommunicatorKind::kNccl) require_nccl();
  auto host = make_mpi_communicator(environment, options);
  if (kind != CommunicatorKind::kNccl) return host;
  return std::make_unique<DeviceCommunicator>(std::move(host), make_nccl_transport, options);
}

void abort_job(ExitCode code) {
  if (!mpi_is_running()) return;
  MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
  std::_Exit(static_cast<int>(code));
}

}  // namespace lockstep
