// Benchmark: seconds of one all-reduce, by size: our messages, our shared memory (in place and with copies), the library's
// own MPI_Allreduce; fixed tree and ring, f32 and bf16 on the wire. tools/mpi.sh RANKS all_reduce_bench [KB..]
//
// Columns are medians in microseconds. A rank's cores are its own while it measures; in training they compute.
// SPDX-License-Identifier: Apache-2.0
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "distributed/communicator.h"

namespace {

using namespace lockstep;

struct Column {
  std::string name;
  std::vector<double> micros;  // by size
};

double measure(std::size_t nbytes, const std::function<void()>& barrier, const std::function<void()>& reduce) {
  std::vector<double> micros;
  const int repetitions = nbytes > 10'000'000 ? 11 : nbytes > 100'000 ? 51 : 201;
  for (int i = 0; i < repetitions; ++i) {
    barrier();
    const auto start = std::chrono::steady_clock::now();
    reduce();
    micros.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
  }
  std::ranges::sort(micros);
  return micros[micros.size() / 2];
}

Tensor zeros(Communicator& comm, std::size_t nbytes, bool in_place) {
  const Shape shape{static_cast<std::int64_t>(nbytes / sizeof(float))};
  return in_place ? comm.make_buffer(shape, DType::kF32) : Tensor::zeros(shape, DType::kF32);
}

std::vector<Column> measure_ours(Communicator& comm, const std::vector<std::size_t>& sizes, const std::string& name, bool in_place) {
  std::vector<Column> columns;
  for (const WireFormat wire : {WireFormat::kNative, WireFormat::kBF16})
    for (const ReduceOrder order : {ReduceOrder::kFixedTree, ReduceOrder::kFast}) {
      Column& column = columns.emplace_back();
      column.name = name + (order == ReduceOrder::kFixedTree ? " tree" : " ring") + (wire == WireFormat::kBF16 ? " bf16" : "");
      for (const std::size_t nbytes : sizes) {
        const Tensor buffer = zeros(comm, nbytes, in_place);
        column.micros.push_back(measure(nbytes, [&] { comm.barrier(); },
                                        [&] { comm.wait(comm.all_reduce_async(buffer, {.order = order, .wire = wire}, "bench")); }));
      }
    }
  return columns;
}

Column measure_library(const std::vector<std::size_t>& sizes) {
  Column column{"MPI_Allreduce", {}};
  for (const std::size_t nbytes : sizes) {
    const int count = static_cast<int>(nbytes / sizeof(float));
    std::vector<float> buffer(nbytes / sizeof(float));
    column.micros.push_back(measure(nbytes, [] { MPI_Barrier(MPI_COMM_WORLD); }, [&] {
      MPI_Allreduce(MPI_IN_PLACE, buffer.data(), count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    }));
  }
  return column;
}

void append(std::vector<Column>& to, std::vector<Column> columns) {
  for (Column& column : columns) to.push_back(std::move(column));
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::size_t> sizes;
  for (int i = 1; i < argc; ++i) sizes.push_back(static_cast<std::size_t>(std::atof(argv[i]) * 1000) / 8 * 8);
  if (sizes.empty()) sizes = {1'000, 10'000, 100'000, 1'000'000, 10'000'000, 100'000'000};
  std::vector<Column> columns;
  {
    const auto comm = make_communicator(CommunicatorKind::kMpi, {.share_memory = false});
    append(columns, measure_ours(*comm, sizes, "messages", false));
  }  // its thread is gone: MPI belongs to this one
  columns.push_back(measure_library(sizes));
  const auto comm = make_communicator(CommunicatorKind::kMpi);
  append(columns, measure_ours(*comm, sizes, "shared", true));
  append(columns, measure_ours(*comm, sizes, "shared, copied", false));
  if (comm->rank() == 0) {
    std::printf("%d ranks, %s; microseconds\n%-26s", comm->size(), std::string(comm->transport()).c_str(), "bytes");
    for (const std::size_t nbytes : sizes) std::printf("%12zu", nbytes);
    for (const Column& column : columns) {
      std::printf("\n%-26s", column.name.c_str());
      for (const double micros : column.micros) std::printf("%12.1f", micros);
    }
    std::printf("\n");
  }
  comm->finalize();
  return 0;
}
