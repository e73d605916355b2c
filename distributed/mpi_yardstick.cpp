// SPDX-License-Identifier: Apache-2.0
#include "distributed/mpi_yardstick.h"

#include <mpi.h>

#include <cstdlib>
#include <string>

#include "core/error.h"
#include "distributed/launch_environment.h"

namespace lockstep {
namespace {

void check(int result, const char* call) {
  if (result != MPI_SUCCESS) throw EnvironmentError(std::string(call) + " failed with code " + std::to_string(result));
}

void start_mpi() {
  int running = 0, provided = 0;
  check(MPI_Initialized(&running), "MPI_Initialized");
  if (running == 0) check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
}

double one_call(std::vector<float>& values, int count) {
  check(MPI_Barrier(MPI_COMM_WORLD), "MPI_Barrier");
  const double begin = MPI_Wtime();
  check(MPI_Allreduce(MPI_IN_PLACE, values.data(), count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD), "MPI_Allreduce");
  return MPI_Wtime() - begin;
}

}  // namespace

std::vector<std::vector<double>> time_mpi_all_reduce(std::span<const std::size_t> sizes, int warmup, int repeats) {
  if (!launched_by_mpi(detect_launcher([](const char* name) { return std::getenv(name); }))) return {};
  start_mpi();
  std::vector<std::vector<double>> results;
  for (const std::size_t nbytes : sizes) {
    const std::size_t count = nbytes / sizeof(float);
    std::vector<float> values(count, 0.0f);  // zeros stay zeros, whatever the number of calls
    std::vector<double> seconds;
    for (int i = -warmup; i < repeats; ++i) {
      const double took = one_call(values, static_cast<int>(count));
      if (i >= 0) seconds.push_back(took);
    }
    check(MPI_Allreduce(MPI_IN_PLACE, seconds.data(), repeats, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD), "MPI_Allreduce");
    results.push_back(std::move(seconds));
  }
  return results;
}

}  // namespace lockstep
