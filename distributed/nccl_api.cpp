// NCCL as a DeviceTransport. Only this file knows nccl.h.
//
// The communicator doesn't block: a call may return ncclInProgress and goes on in a thread of NCCL's; until it is through, no other
// may follow. So each call here polls until then, with DeviceTransportSetup's pause, which throws when the job has failed. Nothing
// here waits for the device, so calls may be recorded; what connects peers and takes memory is done by the same calls made before.
// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime.h>
#include <fmt/format.h>
#include <nccl.h>

#include <cstdlib>
#include <mutex>
#include <string_view>
#include <utility>

#include "distributed/device_transport.h"

namespace lockstep {
namespace {

ncclDataType_t nccl_type(DType dtype) {
  switch (dtype) {
    case DType::kF32: return ncclFloat32;
    case DType::kF64: return ncclFloat64;
    case DType::kBF16: return ncclBfloat16;
    default: break;
  }
  throw InternalError("NCCL all-reduce of " + std::string(dtype_name(dtype)));
}

// Throws EnvironmentError when the library isn't there.
std::string version() {
  int code = 0;
  if (ncclGetVersion(&code) != ncclSuccess) return "nccl";
  return fmt::format("nccl {}.{}.{}", code / 10000, code / 100 % 100, code % 100);
}

class NcclTransport final : public DeviceTransport {
 public:
  explicit NcclTransport(const DeviceTransportSetup& setup)
      : name_(version()),
        where_(fmt::format("rank {} ({}), {}", setup.host.rank(), setup.host.host_of(setup.host.rank()), setup.device.str())),
        pause_(setup.pause),
        device_(setup.device.index) {
    // NCCL refuses two ranks on one GPU of one host; this names another "host" for each.
    if (setup.pretend_hosts) ::setenv("NCCL_HOSTID", fmt::format("lockstep-{}", setup.host.rank()).c_str(), 1);
    const cudaError_t selected = cudaSetDevice(device_);
    if (selected != cudaSuccess) throw EnvironmentError(fmt::format("cudaSetDevice failed on {}: {}", where_, cudaGetErrorString(selected)));
    ncclUniqueId id{};
    if (setup.host.rank() == 0) check(ncclGetUniqueId(&id), "ncclGetUniqueId");
    id = setup.host.broadcast_value(id, 0, "broadcast of NCCL's id");
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    // Recorded buffers would be registered by exporting their memory, which ours (mapped piece by piece) doesn't allow: a warning
    // for each, and no gain. Who sets the variable is left alone.
    ::setenv("NCCL_GRAPH_REGISTER", "0", 0);
    const std::lock_guard lock(mutex_);
    check(ncclCommInitRankConfig(&comm_, setup.host.size(), id, setup.host.rank(), &config), "ncclCommInitRankConfig");
  }
  // A communicator that was neither closed nor aborted is left behind: destroying it could wait for peers.
  ~NcclTransport() override = default;

  std::string name() const override { return name_; }

  bool ready() override {
    const std::lock_guard lock(mutex_);
    require_alive();
    ncclResult_t state = ncclSuccess;
    check(ncclCommGetAsyncError(comm_, &state), "ncclCommGetAsyncError");
    check(state, "a collective");
    return state != ncclInProgress;
  }

  void exchange(Stream stream, int peer, const void* sent, std::size_t sent_bytes, void* received, std::size_t received_bytes) override {
    auto* on = static_cast<cudaStream_t>(stream.handle);
    call("ncclGroupEnd", [&] {
      check(ncclGroupStart(), "ncclGroupStart");
      const ncclResult_t send = sent_bytes == 0 ? ncclSuccess : ncclSend(sent, sent_bytes, ncclUint8, peer, comm_, on);
      const ncclResult_t receive = received_bytes == 0 ? ncclSuccess : ncclRecv(received, received_bytes, ncclUint8, peer, comm_, on);
      const ncclResult_t end = ncclGroupEnd();  // in any case: groups nest
      check(send, "ncclSend");
      check(receive, "ncclRecv");
      return end;
    });
  }

  void all_reduce(Stream stream, DType dtype, void* values, std::int64_t numel) override {
    call("ncclAllReduce", [&] {
      return ncclAllReduce(values, values, static_cast<std::size_t>(numel), nccl_type(dtype), ncclSum, comm_,
                           static_cast<cudaStream_t>(stream.handle));
    });
  }

  void abort() override {
    ncclComm_t comm = nullptr;
    {
      const std::lock_guard lock(mutex_);
      comm = std::exchange(comm_, nullptr);
    }
    if (comm == nullptr) return;
    static_cast<void>(cudaSetDevice(device_));
    static_cast<void>(ncclCommAbort(comm));  // there is nothing to do about an error of its
  }

  void close() override {
    call("ncclCommFinalize", [&] { return ncclCommFinalize(comm_); });
    const std::lock_guard lock(mutex_);
    require_alive();
    check(ncclCommDestroy(std::exchange(comm_, nullptr)), "ncclCommDestroy");
  }

 private:
  // Makes a call and stays until NCCL has taken it in.
  template <class Call>
  void call(const char* name, Call make) {
    {
      const std::lock_guard lock(mutex_);
      require_alive();
      check(make(), name);
    }
    while (!ready()) pause_();
  }

  void require_alive() const {
    if (comm_ == nullptr) throw EnvironmentError("NCCL was ended on " + where_, ExitCode::kTempFail);
  }

  void check(ncclResult_t result, const char* name) const {
    if (result == ncclSuccess || result == ncclInProgress) return;
    const char* detail = comm_ == nullptr ? nullptr : ncclGetLastError(comm_);
    const bool peer = result == ncclRemoteError || result == ncclSystemError;
    throw EnvironmentError(fmt::format("NCCL failed on {}: {}: {}{}{}", where_, name, ncclGetErrorString(result),
                                       detail == nullptr || *detail == '\0' ? "" : ": ", detail == nullptr ? "" : first_line(detail)),
                           peer ? ExitCode::kTempFail : ExitCode::kEnvironment);
  }

  static std::string first_line(std::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

  const std::string name_, where_;
  const std::function<void()> pause_;
  const int device_;
  std::mutex mutex_;  // of every call: abort comes from another thread
  ncclComm_t comm_ = nullptr;
};

}  // namespace

void require_nccl() {}

std::unique_ptr<DeviceTransport> make_nccl_transport(const DeviceTransportSetup& setup) { return std::make_unique<NcclTransport>(setup); }

}  // namespace lockstep
