// Sums over rows: batch norm's sums of the gradient, and the gradient of a bias. Every input is read once: 4 bytes per 16-bit
// element (dy and x), 2 for a bias, 1/8 more for a mask. Threads sum in f32, blocks and their results in double, in fixed order.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/batch_norm.h"
#include "cuda/kernels/norm_channels.h"

namespace lockstep::cuda {
namespace {

constexpr int kBlocksPerSm = 4;

// kSums = 2: of g, and of g * (x - mean), g being dy where the gate is open. kSums = 1: of dy.
// partial (kSums, row_blocks, C).
template <class T, int N, Gate kGate, int kSums>
struct BlockSums {
  static constexpr int kThreads = kReductionThreads, kPhases = 2, kInFlight = (sizeof(Pack<T, N>) <= 16 ? 4 : 2) / kSums;
  struct Shared {
    float sum[kSums][kThreads * N];
  };
  struct Local {};
  ChannelTiles tiles;
  const T *dy, *x;
  const std::uint8_t* bits;
  NormPointers norm;
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
    float sum[kSums][N];
    for (int s = 0; s < kSums; ++s)
      for (int k = 0; k < N; ++k) sum[s][k] = 0;
    if (mine.count > 0) add_rows(mine, tiles.first_channel(block.x, thread), sum);
    for (int s = 0; s < kSums; ++s)
      for (int k = 0; k < N; ++k) shared.sum[s][thread * N + k] = sum[s][k];
  }

  LS_DEVICE void add_rows(const ThreadUnits& mine, std::int64_t channel, float (&sum)[kSums][N]) const {
    ChannelNorm<N> norms;
    if constexpr (kGate == Gate::kRecompute)
      norms.load(norm, channel);
    else if constexpr (kSums == 2)
      load_channels(norm.mean + channel, norms.mean);
    for_batches<kInFlight>(mine, [&](auto batch, std::int64_t offset) {
      constexpr int n = decltype(batch)::value;
      Pack<T, N> gradient[n], value[n];
      unsigned open[n];
      for (int u = 0; u < n; ++u) {
        const std::int64_t at = offset + u * mine.stride;
        gradient[u] = load_pack<T, N>(dy + at);
        if constexpr (kSums == 2) value[u] = load_pack<T, N>(x + at);
        if constexpr (kGate == Gate::kBits) open[u] = mask_bits<N>(bits, at);
      }
      for (int u = 0; u < n; ++u) add_row(norms, gradient[u], value[u], open[u], sum);
    });
  }

  LS_DEVICE void add_row(const ChannelNorm<N>& norms, const Pack<T, N>& gradient, const Pack<T, N>& value, unsigned open,
                         float (&sum)[kSums][N]) const {
    for (int k = 0; k < N; ++k) {
      if constexpr (kGate == Gate::kRecompute)
        if (!stays_positive<T>(norms(to_float(value.at[k]), k))) continue;
      if constexpr (kGate == Gate::kBits)
        if (((open >> k) & 1u) == 0) continue;
      const float g = to_float(gradient.at[k]);
      sum[0][k] += g;
      if constexpr (kSums == 2) sum[1][k] += g * (to_float(value.at[k]) - norms.mean[k]);
    }
  }

  LS_DEVICE void merge_threads(const Block& block, int thread, const Shared& shared) const {
    const int wide = tiles.tile_channels();
    for (int j = thread; j < kSums * wide; j += kThreads) {
      const int s = j / wide, column = j - s * wide;
      const std::int64_t channel = block.x * wide + column;
      if (channel >= tiles.channels) continue;
      double total = 0;
      for (int row = 0; row < tiles.rows_at_once; ++row) total += static_cast<double>(shared.sum[s][row * wide + column]);
      partial[(static_cast<std::int64_t>(s) * tiles.row_blocks + block.y) * tiles.channels + channel] = static_cast<float>(total);
    }
  }
};

// Grid::y is which of the sums. 32 threads for each channel: each takes every 32nd block's sum.
struct MergeSums {
  static constexpr int kChannels = 8, kParts = 32, kThreads = kChannels * kParts, kPhases = 2;
  struct Shared {
    double sum[kThreads];
  };
  struct Local {};
  int row_blocks;
  std::int64_t channels;
  const float *partial, *inv_std;  // inv_std: factor of the second sum
  float* result[2];
  bool accumulate;

  template <int phase>
  LS_DEVICE void run(const Block& block, int thread, Shared& shared, Local&) const {
    const std::int64_t channel = block.x * kChannels + thread % kChannels;
    if (channel >= channels) return;
    double total = 0;
    if constexpr (phase == 0) {
      const float* parts = partial + static_cast<std::int64_t>(block.y) * row_blocks * channels + channel;
      for (int part = thread / kChannels; part < row_blocks; part += kParts) total += static_cast<double>(parts[part * channels]);
      shared.sum[thread] = total;
    } else if (thread < kChannels) {
      for (int i = thread; i < kThreads; i += kChannels) total += shared.sum[i];
      if (block.y == 1) total *= static_cast<double>(inv_std[channel]);
      float& out = result[block.y][channel];
      out = static_cast<float>(accumulate ? static_cast<double>(out) + total : total);
    }
  }
};

// Launches both kernels; `sums` has everything but tiles and partial, `merge` everything but where from.
template <class T, int N, Gate kGate, int kSums>
void sum_rows(Stream stream, const Shape& shape, Device device, BlockSums<T, N, kGate, kSums> sums, MergeSums merge) {
  sums.tiles = reduction_tiles(rows_of(shape), shape[1], N, kBlocksPerSm);
  Tensor partial = Tensor::empty({std::int64_t{sums.tiles.row_blocks} * kSums, sums.tiles.channels}, DType::kF32, device);
  sums.partial = static_cast<float*>(partial.ptr());
  merge.row_blocks = sums.tiles.row_blocks;
  merge.channels = sums.tiles.channels;
  merge.partial = sums.partial;
  launch(stream, sums.tiles.grid(), sums);
  Grid grid{blocks_for(merge.channels, MergeSums::kChannels)};
  grid.y = kSums;
  launch(stream, grid, merge);
}

template <class T, int N, Gate kGate>
void gated_sums(Stream stream, ConstView dy, ConstView bits, ConstView x, const NormVectors& norm, const MergeSums& merge) {
  BlockSums<T, N, kGate, 2> sums{};
  sums.dy = dy.data<T>();
  sums.x = x.data<T>();
  if (kGate == Gate::kBits) sums.bits = bits.data<std::uint8_t>();
  sums.norm = NormPointers(norm);
  sum_rows(stream, x.shape, x.device, sums, merge);
}

template <class T, int N>
void backward_sums(Stream stream, ConstView dy, const ReluGate& gate, ConstView x, const NormVectors& norm, const MergeSums& merge) {
  switch (gate.kind) {
    case Gate::kNone: return gated_sums<T, N, Gate::kNone>(stream, dy, gate.bits, x, norm, merge);
    case Gate::kBits: return gated_sums<T, N, Gate::kBits>(stream, dy, gate.bits, x, norm, merge);
    case Gate::kRecompute: return gated_sums<T, N, Gate::kRecompute>(stream, dy, gate.bits, x, norm, merge);
  }
}

template <class T, int N>
void bias_sums(Stream stream, ConstView dy, const MergeSums& merge) {
  BlockSums<T, N, Gate::kNone, 1> sums{};
  sums.dy = dy.data<T>();
  sum_rows(stream, dy.shape, dy.device, sums, merge);
}

}  // namespace

void batch_norm_backward_sums(Stream stream, ConstView dy, const ReluGate& gate, ConstView x, const NormVectors& norm, View sum_g,
                              View sum_g_xhat) {
  const MergeSums merge{0, 0, nullptr, norm.inv_std.data<float>(), {sum_g.data<float>(), sum_g_xhat.data<float>()}, false};
  with_element_type(x.dtype, "batch_norm_backward_sums", [&]<class T>(T) {
    if (fits_units<T>(x.shape[1], x.ptr, dy.ptr))
      backward_sums<T, kUnit>(stream, dy, gate, x, norm, merge);
    else
      backward_sums<T, 1>(stream, dy, gate, x, norm, merge);
  });
}

void bias_backward(Stream stream, ConstView dy, View db, GradMode mode) {
  const MergeSums merge{0, 0, nullptr, nullptr, {db.data<float>(), nullptr}, mode == GradMode::kAccumulate};
  with_element_type(dy.dtype, "bias_backward", [&]<class T>(T) {
    if (fits_units<T>(dy.shape[1], dy.ptr))
      bias_sums<T, kUnit>(stream, dy, merge);
    else
      bias_sums<T, 1>(stream, dy, merge);
  });
}

}  // namespace lockstep::cuda
