// A DeviceTransport between ranks that are threads, each with an emulated device: what NCCL is to GPUs. Messages are matched by the
// order in which they are given; a call's work waits, on the device, until its peers' has run.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "distributed/device_transport.h"

namespace lockstep::cuda::emulated {

// What the ranks of one group share.
class TransportHub {
 public:
  explicit TransportHub(int ranks);
  MakeDeviceTransport maker();

  // Fault injection: the rank's ready() throws this from now on, as NCCL's asynchronous errors.
  void fail(int rank, const std::string& message);
  // The rank's device sends so many messages more, then hangs.
  void hang(int rank, int messages);
  bool aborted(int rank);
  int messages();  // sent, ever

  struct Meeting {  // one all-reduce
    std::vector<std::vector<std::byte>> values;  // by rank; empty: not come
    int come = 0, left = 0;
  };
  struct State {  // queued work holds it too
    int ranks = 0;
    std::mutex mutex;
    std::map<std::pair<int, int>, std::deque<std::vector<std::byte>>> queues;  // by (from, to)
    std::map<std::uint64_t, Meeting> meetings;                                 // by number
    std::map<int, std::string> failures;
    std::map<int, int> left_to_hang;  // by rank: messages
    std::vector<std::uint8_t> aborted;
    int messages = 0;
    bool hangs(int rank);
  };

 private:
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace lockstep::cuda::emulated
