// Batch norm's mean and sum of squared deviations. x is read once: 2 bytes per 16-bit element. A thread sums the differences
// from its first row's values and passes on means as differences from a common value, so no digits are lost however large the
// mean is; the moments of threads, then of blocks, are merged in fixed order in double.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/batch_norm.h"
#include "cuda/kernels/norm_channels.h"

namespace lockstep::cuda {
namespace {

constexpr int kBlocksPerSm = 4;

// Moments of parts of a set, merged (Chan, Golub, LeVeque 1979): n values of mean base + difference and of squared deviations m2.
// In double, and the base is one of the values, so that nothing cancels that matters.
struct MergedMoments {
  double count = 0, sum = 0, squares = 0;
  LS_DEVICE void add(std::int64_t n, float difference, float m2) {
    const double size = static_cast<double>(n), d = static_cast<double>(difference);
    count += size;
    sum += size * d;
    squares += static_cast<double>(m2) + size * d * d;
  }
  LS_DEVICE double difference() const { return count == 0 ? 0.0 : sum / count; }
  LS_DEVICE float m2() const {
    const double result = count == 0 ? 0.0 : squares - sum * sum / count;
    return result < 0 ? 0.0f : static_cast<float>(result);  // NaN stays NaN
  }
};

// The base: a channel's last value in memory. Without rows: 0.
template <class T>
LS_DEVICE float base_of(const T* x, const ChannelTiles& tiles, std::int64_t channel) {
  return tiles.rows == 0 ? 0.0f : to_float(x[(tiles.rows - 1) * tiles.channels + channel]);
}

// partial (2, row_blocks, C): means less the base, then m2, of each block's rows.
template <class T, int N>
struct BlockMoments {
  static constexpr int kThreads = kReductionThreads, kPhases = 2, kInFlight = sizeof(Pack<T, N>) <= 16 ? 4 : 2;
  struct Shared {
    float difference[kThreads * N], m2[kThreads * N];
    int rows[kThreads];  // of the threads of one row of the group
  };
  struct Local {};
  ChannelTiles tiles;
  const T* x;
  float* partial;

  template <int phase>
  LS_DEVICE void run(const Block& block, int thread, Shared& shared, Local&) const {
    if constexpr (phase == 0)
      sum_rows(block, thread, shared);
    else
      merge_threads(block, thread, shared);
  }

  LS_DEVICE void sum_rows(const Block& block, int thread, Shared& shared) const {
    const ThreadUnits mine = tiles.units_of(block, thread);
    if (thread % tiles.lanes == 0) shared.rows[thread / tiles.lanes] = mine.count;
    if (mine.count == 0) return;
    float shift[N], sum[N], squares[N];
    const Pack<T, N> first = load_pack<T, N>(x + mine.offset);
    for (int k = 0; k < N; ++k) {
      shift[k] = to_float(first.at[k]);
      sum[k] = squares[k] = 0;
    }
    for_batches<kInFlight>(mine, [&](auto batch, std::int64_t offset) {
      constexpr int n = decltype(batch)::value;
      Pack<T, N> rows[n];
      for (int u = 0; u < n; ++u) rows[u] = load_pack<T, N>(x + offset + u * mine.stride);
      for (int u = 0; u < n; ++u)
        for (int k = 0; k < N; ++k) {
          const float difference = to_float(rows[u].at[k]) - shift[k];
          sum[k] += difference;
          squares[k] += difference * difference;
        }
    });
    const std::int64_t channel = tiles.first_channel(block.x, thread);
    const float count = static_cast<float>(mine.count);
    for (int k = 0; k < N; ++k) {
      const float average = sum[k] / count;
      shared.difference[thread * N + k] = (shift[k] - base_of(x, tiles, channel + k)) + average;
      shared.m2[thread * N + k] = squares[k] - sum[k] * average;
    }
  }

  LS_DEVICE void merge_threads(const Block& block, int thread, const Shared& shared) const {
    const int wide = tiles.tile_channels();
    for (int j = thread; j < wide; j += kThreads) {
      const std::int64_t channel = block.x * wide + j;
      if (channel >= tiles.channels) break;
      MergedMoments all;
      for (int row = 0; row < tiles.rows_at_once; ++row)
        if (shared.rows[row] > 0) all.add(shared.rows[row], shared.difference[row * wide + j], shared.m2[row * wide + j]);
      partial[block.y * tiles.channels + channel] = static_cast<float>(all.difference());
      partial[(tiles.row_blocks + block.y) * tiles.channels + channel] = all.m2();
    }
  }
};

// 32 threads for each channel: each takes every 32nd block's moments.
template <class T>
struct MergeBlocks {
  static constexpr int kChannels = 8, kParts = 32, kThreads = kChannels * kParts, kPhases = 2;
  struct Shared {
    double count[kThreads], sum[kThreads], squares[kThreads];
  };
  struct Local {};
  ChannelTiles tiles;
  const T* x;
  const float* partial;
  float *mean, *m2;

  template <int phase>
  LS_DEVICE void run(const Block& block, int thread, Shared& shared, Local&) const {
    const std::int64_t channel = block.x * kChannels + thread % kChannels;
    if (channel >= tiles.channels) return;
    MergedMoments all;
    if constexpr (phase == 0) {
      const float* squares = partial + tiles.row_blocks * tiles.channels;
      for (int part = thread / kChannels; part < tiles.row_blocks; part += kParts)
        all.add(tiles.rows_of_block(part), partial[part * tiles.channels + channel],
                squares[part * tiles.channels + channel]);
      shared.count[thread] = all.count;
      shared.sum[thread] = all.sum;
      shared.squares[thread] = all.squares;
    } else if (thread < kChannels) {
      for (int i = thread; i < kThreads; i += kChannels) {
        all.count += shared.count[i];
        all.sum += shared.sum[i];
        all.squares += shared.squares[i];
      }
      mean[channel] = static_cast<float>(static_cast<double>(base_of(x, tiles, channel)) + all.difference());
      m2[channel] = all.m2();
    }
  }
};

template <class T, int N>
void moments(Stream stream, ConstView x, View mean, View m2) {
  const ChannelTiles tiles = reduction_tiles(rows_of(x.shape), x.shape[1], N, kBlocksPerSm);
  Tensor partial = Tensor::empty({2, tiles.row_blocks, tiles.channels}, DType::kF32, x.device);
  auto* parts = static_cast<float*>(partial.ptr());
  launch(stream, tiles.grid(), BlockMoments<T, N>{tiles, x.data<T>(), parts});
  launch(stream, {blocks_for(tiles.channels, MergeBlocks<T>::kChannels)},
         MergeBlocks<T>{tiles, x.data<T>(), parts, mean.data<float>(), m2.data<float>()});
}

}  // namespace

void batch_norm_moments(Stream stream, ConstView x, View mean, View m2) {
  with_element_type(x.dtype, "batch_norm_moments", [&]<class T>(T) {
    if (fits_units<T>(x.shape[1], x.ptr))
      moments<T, kUnit>(stream, x, mean, m2);
    else
      moments<T, 1>(stream, x, mean, m2);
  });
}

}  // namespace lockstep::cuda
