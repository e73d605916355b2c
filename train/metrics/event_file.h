// TensorBoard event files: framed, checksummed records of lockstep.proto.tensorboard.Event.
//
// A record is: length (u64, little-endian), masked CRC-32C of those 8 bytes (u32), data, masked CRC-32C of the data
// (u32). The first record of a file says "brain.Event:2". Files are never changed: a resumed run opens a new one, whose
// second record, SessionLog START at step resume + 1, tells readers to forget older points from that step on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "train/metrics/append_file.h"

namespace lockstep {

// A record's bytes around `data`.
std::string frame_event_record(std::string_view data);

class EventFile {
 public:
  // Creates events.out.tfevents.<seconds>.<host>.<pid>.<n> in `folder`, which must exist.
  EventFile(const std::string& folder, double now, std::optional<int64_t> resume_step);

  void scalar(double time, int64_t step, const std::string& tag, double value);
  void text(double time, int64_t step, const std::string& tag, const std::string& value);
  AppendFile& file() { return file_; }

 private:
  AppendFile file_;
};

}  // namespace lockstep
