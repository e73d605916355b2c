// SPDX-License-Identifier: Apache-2.0
#include "distributed/flight_recorder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace lockstep {
namespace {

constexpr std::size_t kNamed = 3;  // ranks named one by one; the rest is counted

std::string rank_list(const std::vector<int>& ranks) {
  std::string text;
  for (std::size_t i = 0; i < std::min(ranks.size(), std::size_t{16}); ++i)
    text += fmt::format("{}{}", i == 0 ? "" : ", ", ranks[i]);
  if (ranks.size() > 16) text += fmt::format(" and {} more", ranks.size() - 16);
  return text;
}

std::string describe_late(const Status& status, const std::string& host) {
  const OperationRecord* last = status.find(status.submitted);
  std::string text = fmt::format("rank {} ({}, pid {})", status.rank, host, status.pid);
  text += last == nullptr ? " has joined nothing yet" : fmt::format(" last joined #{} {}", last->number, last->label_view());
  if (status.activity[0] != 0) text += fmt::format(", now in {} of step {}", status.activity.data(), status.step);
  return text;
}

template <class Describe>
std::string describe_some(const std::vector<int>& ranks, Describe describe) {
  std::string text;
  for (std::size_t i = 0; i < std::min(ranks.size(), kNamed); ++i) text += (i == 0 ? "" : "; ") + describe(ranks[i]);
  if (ranks.size() > kNamed) text += fmt::format("; and {} more", ranks.size() - kNamed);
  return text;
}

// A rank that stands at the same number with another label runs another program: say so instead of blaming the network.
std::string describe_disagreement(std::uint64_t number, const OperationRecord* mine,
                                  std::span<const std::optional<Status>> statuses) {
  for (const auto& status : statuses) {
    if (!status || mine == nullptr) continue;
    const OperationRecord* theirs = status->find(number);
    if (theirs != nullptr && (theirs->label != mine->label || theirs->nbytes != mine->nbytes))
      return fmt::format("\nranks disagree: rank {} is in {} ({} bytes) at the same place (a bug, or different programs)",
                         status->rank, theirs->label_view(), theirs->nbytes);
  }
  return {};
}

}  // namespace

const OperationRecord* Status::find(std::uint64_t number) const {
  for (std::size_t i = 0; i < std::min<std::size_t>(record_count, kRecords); ++i)
    if (number != 0 && records[i].number == number) return &records[i];
  return nullptr;
}

void copy_label(std::span<char> to, std::string_view from) {
  const std::size_t length = std::min(from.size(), to.size() - 1);
  std::memcpy(to.data(), from.data(), length);
  std::memset(to.data() + length, 0, to.size() - length);
}

OperationRecord& FlightRecorder::add(std::uint64_t number) {
  last_ = number;
  OperationRecord& record = at(number);
  record = {};
  record.number = number;
  return record;
}

void FlightRecorder::fill(Status& status) const {
  const std::uint64_t count = std::min<std::uint64_t>(last_, kRecords);
  status.record_count = static_cast<std::uint32_t>(count);
  for (std::uint64_t i = 0; i < count; ++i) status.records[i] = records_[(last_ - count + 1 + i) % kRecords];
}

Verdict judge(std::uint64_t number, int self, const std::string& cause, const std::string& where,
              std::span<const std::optional<Status>> statuses, std::span<const std::string> hosts, const std::string& report_path) {
  Verdict verdict;
  for (std::size_t r = 0; r < statuses.size(); ++r) {
    const int rank = static_cast<int>(r);
    if (!statuses[r])
      verdict.silent.push_back(rank);
    else if (statuses[r]->submitted < number)
      verdict.late.push_back(rank);
    else if (statuses[r]->completed < number)
      verdict.waiting.push_back(rank);
  }
  verdict.speaker = verdict.waiting.empty() ? self : verdict.waiting.front();
  const auto& mine = statuses[static_cast<std::size_t>(self)];
  const OperationRecord* operation = mine ? mine->find(number) : nullptr;
  verdict.message = fmt::format("{}: #{} {}, step {}{}{}", cause, number, operation == nullptr ? "?" : operation->label_view(),
                                operation == nullptr ? 0 : operation->step, where.empty() ? "" : ", ", where);
  const auto host = [&](int rank) -> const std::string& { return hosts[static_cast<std::size_t>(rank)]; };
  if (!verdict.late.empty())
    verdict.message += "\nlate: " + describe_some(verdict.late, [&](int rank) {
      return describe_late(*statuses[static_cast<std::size_t>(rank)], host(rank));
    });
  if (!verdict.silent.empty())
    verdict.message += "\nsilent (stopped, dead or unreachable): " + describe_some(verdict.silent, [&](int rank) {
      return fmt::format("rank {} ({})", rank, host(rank));
    });
  if (verdict.late.empty() && verdict.silent.empty()) {
    const std::string disagreement = describe_disagreement(number, operation, statuses);
    verdict.message += disagreement.empty() ? "\nall ranks have joined it: the network is slow or broken" : disagreement;
  }
  verdict.message += "\nwaiting: rank " + rank_list(verdict.waiting);
  if (!report_path.empty()) verdict.message += "\nlast collectives of all ranks: " + report_path;
  return verdict;
}

std::string describe_collectives(std::span<const std::optional<Status>> statuses, std::span<const std::string> hosts) {
  std::string text = "Times in ms since the rank's communicator started; '-': not yet.\n";
  const auto ms = [](std::int64_t ns) { return ns == 0 ? std::string("-") : fmt::format("{:.3f}", static_cast<double>(ns) * 1e-6); };
  for (std::size_t r = 0; r < statuses.size(); ++r) {
    if (!statuses[r]) {
      text += fmt::format("\nrank {} ({}): no answer\n", r, hosts[r]);
      continue;
    }
    const Status& status = *statuses[r];
    text += fmt::format("\nrank {} ({}, pid {}): joined #{}, completed #{}, step {} {}\n", r, hosts[r], status.pid,
                        status.submitted, status.completed, status.step, status.activity.data());
    text += "number step joined_ms started_ms done_ms bytes label\n";
    for (std::size_t i = 0; i < std::min<std::size_t>(status.record_count, kRecords); ++i) {
      const OperationRecord& record = status.records[i];
      text += fmt::format("#{} {} {} {} {} {} {}\n", record.number, record.step, ms(record.submitted_ns),
                          ms(record.started_ns), ms(record.done_ns), record.nbytes, record.label_view());
    }
  }
  return text;
}

}  // namespace lockstep
