// How the CUDA backend's own kernels are written: once, as functors, for a GPU and for the host.
//
// A .cu file of cuda/kernels/ is compiled by nvcc into the product and, as plain C++, into the emulated device that the tests
// run where there is no GPU (tests/emulated). So it uses nothing of CUDA but this header and numeric.h: no intrinsics, no
// shuffles, no atomics. Sums have a fixed order because the code says so.
//
// for_each_index(stream, n, f): f(i) for every i in [0, n); f copies its captures by value (struct with operator()).
//
// launch(stream, grid, kernel): a block program. The kernel is a struct with
//   static constexpr int kThreads, kPhases;  // threads of a block; phases, between which the block's threads meet
//   struct Shared { ... };                   // the block's memory, uninitialised, at most 48 KB
//   struct Local { ... };                    // each thread's, kept from phase to phase, default-initialised
//   template <int phase> LS_DEVICE void run(const Block&, int thread, Shared&, Local&) const;
// and is copied to the device as an argument: it holds plain values and pointers, 4 KB at most.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "core/device.h"
#include "core/error.h"
#include "core/rehearsal.h"

#ifdef __CUDACC__
#include <cuda_runtime.h>

#define LS_DEVICE __host__ __device__ __forceinline__
#else
#include <cstddef>
#include <functional>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

#define LS_DEVICE inline
#endif

namespace lockstep::cuda {

// Blocks of a launch: x up to 2^31 - 1, y up to 65535.
struct Grid {
  std::int64_t x = 1;
  int y = 1;
};

// Which block this is, and of how many.
struct Block {
  std::int64_t x;
  int y;
  std::int64_t count_x;
  int count_y;
};

// Counts a launch, so that tests and the step's plan can tell how many there were.
void note_launch();
std::int64_t launch_count();  // of this process, replays not counted
// Throws EnvironmentError naming `kernel` when the launch before was refused.
void check_launch(const char* kernel);

constexpr int kIndexThreads = 256;
constexpr std::int64_t kMaxGridX = 2147483647;
constexpr int kMaxGridY = 65535;

constexpr std::int64_t blocks_for(std::int64_t n, std::int64_t per_block) { return (n + per_block - 1) / per_block; }

#ifdef __CUDACC__

namespace detail {

template <class Kernel, int... phase>
__device__ __forceinline__ void run_phases(const Kernel& kernel, const Block& block, typename Kernel::Shared& shared,
                                           std::integer_sequence<int, phase...>) {
  typename Kernel::Local local;
  const int thread = static_cast<int>(threadIdx.x);
  ((phase > 0 ? __syncthreads() : static_cast<void>(0), kernel.template run<phase>(block, thread, shared, local)), ...);
}

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads) block_program(const __grid_constant__ Kernel kernel) {
  __shared__ typename Kernel::Shared shared;
  const Block block{blockIdx.x, static_cast<int>(blockIdx.y), gridDim.x, static_cast<int>(gridDim.y)};
  run_phases(kernel, block, shared, std::make_integer_sequence<int, Kernel::kPhases>{});
}

template <class Function>
__global__ void __launch_bounds__(kIndexThreads) index_program(std::int64_t n, const __grid_constant__ Function function) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kIndexThreads + threadIdx.x;
  if (i < n) function(i);
}

}  // namespace detail

template <class Kernel>
void launch(Stream stream, Grid grid, const Kernel& kernel) {
  if (grid.x == 0 || grid.y == 0 || Rehearsal::active()) return;
  LS_CHECK(grid.x <= kMaxGridX && grid.y <= kMaxGridY, "a launch of " + std::to_string(grid.x) + " x " + std::to_string(grid.y) + " blocks");
  note_launch();
  detail::block_program<<<dim3(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y)), Kernel::kThreads, 0,
                          static_cast<cudaStream_t>(stream.handle)>>>(kernel);
  check_launch(__PRETTY_FUNCTION__);
}

template <class Function>
void for_each_index(Stream stream, std::int64_t n, const Function& function) {
  if (n == 0 || Rehearsal::active()) return;
  LS_CHECK(blocks_for(n, kIndexThreads) <= kMaxGridX, "a launch over " + std::to_string(n) + " indices");
  note_launch();
  detail::index_program<<<static_cast<unsigned>(blocks_for(n, kIndexThreads)), kIndexThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(
      n, function);
  check_launch(__PRETTY_FUNCTION__);
}

#else

// The emulated device's (tests/emulated): gives `work` to the stream.
void enqueue_work(Stream stream, std::function<void()> work);

namespace detail {

// Memory that nobody has written reads as NaNs and wild numbers, as it may on a GPU.
template <class T>
class Unwritten {
 public:
  explicit Unwritten(std::size_t count) : bytes_(count * sizeof(T) + alignof(T), static_cast<unsigned char>(0xff)) {
    void* at = bytes_.data();
    std::size_t space = bytes_.size();
    first_ = static_cast<T*>(std::align(alignof(T), count * sizeof(T), at, space));
    for (std::size_t i = 0; i < count; ++i) new (first_ + i) T;  // what has a default member initialiser gets it
  }
  T& operator[](std::size_t i) { return first_[i]; }

 private:
  static_assert(std::is_trivially_destructible_v<T>);
  std::vector<unsigned char> bytes_;
  T* first_;
};

// Every other time threads run last first: who reads what another thread writes in the same phase gets caught.
template <class Kernel, int... phase>
void run_block(const Kernel& kernel, const Block& block, std::integer_sequence<int, phase...>) {
  Unwritten<typename Kernel::Shared> shared(1);
  Unwritten<typename Kernel::Local> local(static_cast<std::size_t>(Kernel::kThreads));
  const auto all_threads = [&](bool backwards, auto run) {
    for (int i = 0; i < Kernel::kThreads; ++i) {
      const int thread = backwards ? Kernel::kThreads - 1 - i : i;
      run(thread, local[static_cast<std::size_t>(thread)]);
    }
  };
  (all_threads((block.x + phase) % 2 != 0,
               [&](int thread, typename Kernel::Local& own) { kernel.template run<phase>(block, thread, shared[0], own); }),
   ...);
}

}  // namespace detail

template <class Kernel>
void launch(Stream stream, Grid grid, const Kernel& kernel) {
  if (grid.x == 0 || grid.y == 0 || Rehearsal::active()) return;
  LS_CHECK(grid.x <= kMaxGridX && grid.y <= kMaxGridY, "a launch of " + std::to_string(grid.x) + " x " + std::to_string(grid.y) + " blocks");
  note_launch();
  enqueue_work(stream, [grid, kernel] {
    for (int y = 0; y < grid.y; ++y)
      for (std::int64_t x = 0; x < grid.x; ++x)
        detail::run_block(kernel, Block{x, y, grid.x, grid.y}, std::make_integer_sequence<int, Kernel::kPhases>{});
  });
  check_launch(__PRETTY_FUNCTION__);
}

template <class Function>
void for_each_index(Stream stream, std::int64_t n, const Function& function) {
  if (n == 0 || Rehearsal::active()) return;
  LS_CHECK(blocks_for(n, kIndexThreads) <= kMaxGridX, "a launch over " + std::to_string(n) + " indices");
  note_launch();
  enqueue_work(stream, [n, function] {
    for (std::int64_t i = 0; i < n; ++i) function(i);
  });
  check_launch(__PRETTY_FUNCTION__);
}

#endif

}  // namespace lockstep::cuda
