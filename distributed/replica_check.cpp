// SPDX-License-Identifier: Apache-2.0
#include "distributed/replica_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

namespace lockstep {
namespace {

std::string list(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// Ranks whose value isn't the most frequent one; empty when no value has more ranks than any other.
std::vector<int> minority(const std::vector<std::uint64_t>& values) {
  std::map<std::uint64_t, int> counts;
  for (const std::uint64_t value : values) ++counts[value];
  const auto most = std::max_element(counts.begin(), counts.end(), [](auto& a, auto& b) { return a.second < b.second; });
  std::vector<int> others;
  for (const auto& [value, count] : counts)
    if (value != most->first && count == most->second) return others;
  for (std::size_t r = 0; r < values.size(); ++r)
    if (values[r] != most->first) others.push_back(static_cast<int>(r));
  return others;
}

std::string name_ranks(const Communicator& comm, const std::vector<int>& ranks, const std::vector<std::uint64_t>& values) {
  std::vector<std::string> names;
  for (const int rank : ranks)
    names.push_back(fmt::format("{} ({}, {:016x})", rank, comm.host_of(rank), values[static_cast<std::size_t>(rank)]));
  return list(names);
}

}  // namespace

void check_replicas(Communicator& comm, std::span<const NamedHash> tensors, std::int64_t step) {
  std::uint64_t combined = tensors.size();
  for (const NamedHash& tensor : tensors) combined = (combined ^ tensor.hash) * 0x9E3779B97F4A7C15u + (combined >> 29);
  const auto all = comm.all_gather_values(combined, "replica check");
  if (std::ranges::all_of(all, [&](std::uint64_t value) { return value == combined; })) return;

  const std::size_t count = tensors.size(), ranks = static_cast<std::size_t>(comm.size());
  const auto counts = comm.all_gather_values(static_cast<std::uint64_t>(count), "replica check: counts");
  LS_CHECK(std::ranges::all_of(counts, [&](std::uint64_t c) { return c == count; }), "ranks check different tensor lists");
  std::vector<std::uint64_t> mine, hashes(count * ranks);
  for (const NamedHash& tensor : tensors) mine.push_back(tensor.hash);
  comm.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(hashes)), "replica check: hashes");
  std::size_t differing = 0, first = count;
  for (std::size_t t = 0; t < count; ++t) {
    bool equal = true;
    for (std::size_t r = 1; r < ranks; ++r) equal = equal && hashes[r * count + t] == hashes[t];
    if (equal) continue;
    ++differing;
    first = std::min(first, t);
  }
  LS_CHECK(first < count, "combined hashes differ but no tensor's does");
  std::vector<std::uint64_t> values;
  for (std::size_t r = 0; r < ranks; ++r) values.push_back(hashes[r * count + first]);
  const std::vector<int> odd = minority(values);
  std::vector<int> everyone;
  for (int r = 0; r < comm.size(); ++r) everyone.push_back(r);
  throw UserError(fmt::format("replicas disagree after step {}: '{}'{} differs on {} {}.\n"
                              "Nothing was saved. Suspect the memory or processor of that machine; resume from the last "
                              "checkpoint without it.",
                              step, tensors[first].name,
                              differing > 1 ? fmt::format(" (and {} more tensors)", differing - 1) : "",
                              odd.empty() ? "ranks, none in the minority:" : odd.size() == 1 ? "rank" : "ranks",
                              name_ranks(comm, odd.empty() ? everyone : odd, values)),
                  ExitCode::kNumeric);
}

}  // namespace lockstep
