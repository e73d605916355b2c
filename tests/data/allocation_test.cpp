// A warm loader asks nobody for memory. This file counts every operator new of the test binary.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "data/loader.h"
#include "tests/data/test_support.h"

namespace {
std::atomic<std::int64_t> allocations{0};
}

// noinline: gcc otherwise takes the pair malloc and delete for a mismatch
[[gnu::noinline]] void* operator new(std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(size == 0 ? 1 : size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace lockstep {
namespace {

// In the first 50 steps that need none, or in the last 50 that were tried: on a busy machine a thread may get its first
// turn, and so its first buffers, late.
std::int64_t allocations_of_warm_steps(const Source& source, const LoaderOptions& options) {
  Loader loader(source, options);
  std::int64_t needed = 1;
  for (int attempt = 0; attempt < 20 && needed != 0; ++attempt) {
    for (int i = 0; i < 200; ++i) loader.next();  // every thread meets its largest image
    const auto all = [] { return allocations.load() + static_cast<std::int64_t>(cpu_pool().stats().system_allocations); };
    const std::int64_t before = all();
    for (int i = 0; i < 50; ++i) loader.next();
    needed = all() - before;
  }
  return needed;
}

TEST(Allocation, AWarmLoaderAllocatesNothing) {
  const auto source =
      open_source({.kind = SourceKind::kSynthetic, .classes = 5, .size = 100, .height = 12, .width = 12, .seed = 1});
  const test::TempDir dir;
  test::make_folder(dir, "train", 2, 8);
  const auto folder = open_source({.path = dir.path()});
  for (const int threads : {0, 2}) {
    LoaderOptions options{.shard_batch = 8,
                          .global_batch = 16,
                          .first_shard = 0,
                          .last_shard = 2,
                          .augment = {.crop = Crop::kPadCrop, .flip = true},
                          .threads = threads};
    EXPECT_EQ(allocations_of_warm_steps(*source, options), 0);
    options.augment = {.crop = Crop::kRandomResizedCrop, .flip = true, .out_height = 16, .out_width = 16};
    EXPECT_EQ(allocations_of_warm_steps(*folder, options), 0);  // read-ahead included
    options.augment.colour_jitter = {.brightness = 0.4, .contrast = 0.4, .saturation = 0.4, .hue = 0.1};
    options.augment.rand_augment = {.ops = 2};
    options.augment.random_erasing = {.probability = 0.5, .noise = true};
    options.mix = {.mixup_alpha = 0.2, .cutmix_alpha = 1};
    EXPECT_EQ(allocations_of_warm_steps(*folder, options), 0);
  }
}

TEST(Allocation, TheCounterCounts) {  // the negative control
  const std::int64_t before = allocations.load();
  const auto memory = std::make_unique<std::vector<int>>(10);
  EXPECT_GE(allocations.load() - before, 2);
}

}  // namespace
}  // namespace lockstep
