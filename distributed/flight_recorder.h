// FlightRecorder: the last collectives of this rank; and the verdict, when one of them misses its deadline.
//
// At a missed deadline each waiting rank asks all others for their Status. Communication threads answer even when the
// main thread is stuck, so that a rank that hasn't come (late) is told from a process that doesn't answer (silent).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

inline constexpr std::size_t kRecords = 64;

struct OperationRecord {  // plain bytes: it travels
  std::uint64_t number = 0;
  std::int64_t step = 0;
  std::int64_t submitted_ns = 0, started_ns = 0, done_ns = 0;  // since the communicator's start; 0: not yet
  std::uint64_t nbytes = 0;
  std::array<char, 120> label{};

  std::string_view label_view() const { return label.data(); }
};

struct Status {  // plain bytes: it travels
  std::int32_t rank = 0, pid = 0;
  std::uint64_t submitted = 0, completed = 0;  // operation numbers
  std::int64_t step = 0;
  std::array<char, 32> activity{};
  std::uint32_t record_count = 0;
  std::array<OperationRecord, kRecords> records{};  // oldest first

  const OperationRecord* find(std::uint64_t number) const;
};

// Copies with truncation and a final 0.
void copy_label(std::span<char> to, std::string_view from);

class FlightRecorder {
 public:
  OperationRecord& add(std::uint64_t number);  // numbers rise by one
  OperationRecord& at(std::uint64_t number) { return records_[number % kRecords]; }
  void fill(Status& status) const;  // record_count and records

 private:
  std::array<OperationRecord, kRecords> records_{};
  std::uint64_t last_ = 0;
};

struct Verdict {
  std::string message;             // at most 5 lines
  std::vector<int> late, silent, waiting;
  int speaker = 0;                 // lowest waiting rank: it reports first, the others hold back
};

// Who is to blame for operation `number`, asked by rank `self` because of `cause` ("a collective missed its deadline of 60 s"). `where`
// (may be empty): what the operation is at. statuses[r] is empty for a rank that didn't answer. `report_path` may be empty.
Verdict judge(std::uint64_t number, int self, const std::string& cause, const std::string& where,
              std::span<const std::optional<Status>> statuses, std::span<const std::string> hosts, const std::string& report_path);

// The file that goes with a verdict: all ranks' last collectives, one line each.
std::string describe_collectives(std::span<const std::optional<Status>> statuses, std::span<const std::string> hosts);

}  // namespace lockstep
