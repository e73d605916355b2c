// SPDX-License-Identifier: Apache-2.0
#include "train/allreduce_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "core/error.h"
#include "train/clock.h"

namespace lockstep {
namespace {

constexpr const char* kMpiName = "MPI_Allreduce";

AllReduceRow make_row(std::size_t nbytes, std::string order, std::string wire, const std::vector<double>& ms, int ranks) {
  AllReduceRow row{nbytes, std::move(order), std::move(wire), spread_of(ms), 0, 0};
  row.algorithm_gbytes_per_second = static_cast<double>(nbytes) / row.ms.median * 1e-6;
  const double carried = 2.0 * (ranks - 1) / ranks * (row.wire == "BF16" ? 0.5 : 1.0);
  row.bus_gbytes_per_second = row.algorithm_gbytes_per_second * carried;
  return row;
}

// The slowest rank's time of each repeat.
std::vector<double> slowest(const std::vector<double>& mine, Communicator& comm) {
  const std::size_t n = mine.size();
  std::vector<double> all(n * static_cast<std::size_t>(comm.size()));
  comm.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)), "bench times");
  std::vector<double> worst(n, 0);
  for (std::size_t i = 0; i < all.size(); ++i) worst[i % n] = std::max(worst[i % n], all[i]);
  return worst;
}

// Rank r gives r + 1 everywhere, so every sum is n (n + 1) / 2: exact in f32, and in bf16 up to 16 ranks.
void check_sums(const Tensor& buffer, const AllReduceRow& what, int ranks) {
  const float want = static_cast<float>(ranks * (ranks + 1) / 2);
  const float allowed = what.wire == "BF16" && ranks > 16 ? want * 0x1p-5f : 0.0f;
  for (const float value : buffer.host<float>())
    LS_CHECK(std::abs(value - want) <= allowed, fmt::format("{} {} of {} bytes: got {}, want {}", what.order, what.wire, what.nbytes, value, want));
}

AllReduceRow bench_case(const AllReduceBenchOptions& options, std::size_t nbytes, const ReduceOptions& reduce, Communicator& comm) {
  Tensor buffer = Tensor::empty({static_cast<std::int64_t>(nbytes / sizeof(float))}, DType::kF32);
  std::vector<double> ms;
  for (int i = -options.warmup; i < options.repeats; ++i) {
    std::ranges::fill(buffer.host<float>(), static_cast<float>(comm.rank() + 1));
    comm.barrier("bench start");
    const std::int64_t begin = steady_ns();
    comm.wait(comm.all_reduce_async(buffer, reduce, "bench"));
    if (i >= 0) ms.push_back(static_cast<double>(steady_ns() - begin) * 1e-6);
  }
  const char* order = reduce.order == ReduceOrder::kFixedTree ? "EXACT" : "FAST";
  const AllReduceRow row = make_row(nbytes, order, reduce.wire == WireFormat::kBF16 ? "BF16" : "FP32", slowest(ms, comm), comm.size());
  check_sums(buffer, row, comm.size());
  return row;
}

}  // namespace

void check_options(const AllReduceBenchOptions& options) {
  if (options.warmup < 0 || options.repeats < 1) throw UserError("bench allreduce: --warmup: want at least 0; --steps: want at least 1");
  for (const std::size_t nbytes : options.sizes)
    if (nbytes < sizeof(float) || nbytes % sizeof(float) != 0 || nbytes > (std::size_t{1} << 30))
      throw UserError(fmt::format("bench allreduce: --bytes: got {}, want multiples of 4 up to 2^30", nbytes));
}

std::vector<AllReduceRow> bench_all_reduce(const AllReduceBenchOptions& options, const std::vector<std::vector<double>>& mpi_seconds,
                                           Communicator& comm) {
  check_options(options);
  if (comm.size() < 2) throw UserError("bench allreduce: got 1 rank, want 2 or more\n  Start it with mpirun -n 2 lockstep bench allreduce");
  const bool tree = std::has_single_bit(static_cast<unsigned>(comm.size()));
  std::vector<AllReduceRow> rows;
  for (std::size_t s = 0; s < options.sizes.size(); ++s) {
    for (const ReduceOrder order : {ReduceOrder::kFixedTree, ReduceOrder::kFast}) {
      if (order == ReduceOrder::kFixedTree && !tree) continue;
      for (const WireFormat wire : {WireFormat::kNative, WireFormat::kBF16})
        rows.push_back(bench_case(options, options.sizes[s], {.order = order, .wire = wire}, comm));
    }
    if (s >= mpi_seconds.size()) continue;
    std::vector<double> ms;
    for (const double seconds : mpi_seconds[s]) ms.push_back(seconds * 1e3);
    rows.push_back(make_row(options.sizes[s], kMpiName, "FP32", ms, comm.size()));
  }
  return rows;
}

}  // namespace lockstep
