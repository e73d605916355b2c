// Depthwise convolution on channels-last images. Forward reads x once from memory (overlapping windows again from the caches) and
// writes y; the data gradient gathers from dy likewise; the filter gradient reads x and dy, once per three taps from the caches.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/depthwise.h"

#include "cuda/kernels/channel_tiles.h"
#include "cuda/kernels/pool_windows.h"

namespace lockstep::cuda {
namespace {

// The filter as (taps, C) in f32: a thread's channels are neighbours then.
template <class T>
struct TransposeFilter {
  const T* w;
  float* table;
  std::int64_t channels, taps;
  LS_DEVICE void operator()(std::int64_t i) const { table[i] = to_float(w[i % channels * taps + i / channels]); }
};

template <class T, int N>
struct DepthwiseForward {
  static constexpr int kWidth = N;
  PoolGeometry geometry;
  const T* x;
  const float* table;
  T* y;

  LS_DEVICE void compute(const PoolPlace& at) const {
    float sum[N];
    for (int k = 0; k < N; ++k) sum[k] = 0;
    geometry.for_taps(at, [&](int tap, std::int64_t offset) {
      const Pack<T, N> pixel = load_pack<T, N>(x + offset);
      const Pack<float, N> weight = load_pack<float, N>(table + tap * geometry.channels + at.channel);
      for (int k = 0; k < N; ++k) sum[k] += to_float(pixel.at[k]) * weight.at[k];
    });
    put_unit<T, N>(y + geometry.y_at(at.image, at.row, at.column) + at.channel, sum, false);
  }
};

// Each element of dx gathers from the windows that hold it, so that nothing is added out of order.
template <class T, int N>
struct DepthwiseData {
  static constexpr int kWidth = N;
  PoolGeometry geometry;
  const T* dy;
  const float* table;
  T* dx;
  bool accumulate;

  LS_DEVICE void compute(const PoolPlace& at) const {
    float sum[N];
    for (int k = 0; k < N; ++k) sum[k] = 0;
    geometry.for_holders(at, [&](int, int, int tap, std::int64_t offset) {
      const Pack<T, N> gradient = load_pack<T, N>(dy + offset);
      const Pack<float, N> weight = load_pack<float, N>(table + tap * geometry.channels + at.channel);
      for (int k = 0; k < N; ++k) sum[k] += to_float(gradient.at[k]) * weight.at[k];
    });
    put_unit<T, N>(dx + geometry.x_at(at.image, at.row, at.column) + at.channel, sum, accumulate);
  }
};

// A block: one tile of channels, one of the blocks of dy's rows (pixels), up to kColumns neighbouring taps of one row of the filter.
// Threads sum in f32, the block in double. Grid::y: row block by row block, its taps beside each other, as they read the same.
// partial (row_blocks, taps, C).
template <class T, int N>
struct DepthwiseFilterSums {
  static constexpr int kThreads = kReductionThreads, kPhases = 2, kColumns = 3;
  struct Shared {
    float sum[kColumns][kThreads * N];
  };
  struct Local {};
  ChannelTiles tiles;
  PoolGeometry geometry;
  const T *x, *dy;
  float* partial;

  LS_DEVICE int column_groups() const { return (geometry.w.kernel + kColumns - 1) / kColumns; }
  LS_DEVICE int tap_groups() const { return geometry.h.kernel * column_groups(); }

  template <int phase>
  LS_DEVICE void run(const Block& block, int thread, Shared& shared, Local&) const {
    const int columns = column_groups(), groups = tap_groups();
    const int row_block = block.y / groups, r = block.y % groups / columns, s = block.y % columns * kColumns;
    const Block tile{block.x, row_block, block.count_x, block.count_y / groups};
    if constexpr (phase == 0)
      sum_rows(tile, r, s, thread, shared);
    else
      merge_threads(tile, r, s, thread, shared);
  }

  LS_DEVICE void sum_rows(const Block& tile, int r, int s, int thread, Shared& shared) const {
    const ThreadUnits mine = tiles.units_of(tile, thread);
    float sum[kColumns][N];
    for (int t = 0; t < kColumns; ++t)
      for (int k = 0; k < N; ++k) sum[t][k] = 0;
    const std::int64_t step = mine.stride / tiles.channels, channel = mine.offset % tiles.channels;
    std::int64_t row = mine.offset / tiles.channels;
    for (int i = 0; i < mine.count; ++i, row += step) add_products(row, channel, r, s, sum);
    for (int t = 0; t < kColumns; ++t)
      for (int k = 0; k < N; ++k) shared.sum[t][thread * N + k] = sum[t][k];
  }

  LS_DEVICE void add_products(std::int64_t row, std::int64_t channel, int r, int s, float (&sum)[kColumns][N]) const {
    const WindowAxis &h = geometry.h, &w = geometry.w;
    const std::int64_t line = row / w.windows, image = line / h.windows;
    const int pixel_row = h.origin(static_cast<int>(line - image * h.windows)) + r;
    const int first = w.origin(static_cast<int>(row - line * w.windows)) + s;
    if (pixel_row < 0 || pixel_row >= h.pixels) return;
    const Pack<T, N> gradient = load_pack<T, N>(dy + row * geometry.channels + channel);
    for (int t = 0; t < kColumns; ++t) {
      if (s + t >= w.kernel || first + t < 0 || first + t >= w.pixels) continue;
      const Pack<T, N> pixel = load_pack<T, N>(x + geometry.x_at(image, pixel_row, first + t) + channel);
      for (int k = 0; k < N; ++k) sum[t][k] += to_float(pixel.at[k]) * to_float(gradient.at[k]);
    }
  }

  LS_DEVICE void merge_threads(const Block& tile, int r, int s, int thread, const Shared& shared) const {
    const int wide = tiles.tile_channels(), count = geometry.w.kernel - s < kColumns ? geometry.w.kernel - s : kColumns;
    for (int j = thread; j < count * wide; j += kThreads) {
      const int t = j / wide, column = j - t * wide;
      const std::int64_t channel = tile.x * wide + column;
      if (channel >= tiles.channels) continue;
      double total = 0;
      for (int row = 0; row < tiles.rows_at_once; ++row) total += static_cast<double>(shared.sum[t][row * wide + column]);
      const int tap = r * geometry.w.kernel + s + t, taps = geometry.h.kernel * geometry.w.kernel;
      partial[(static_cast<std::int64_t>(tile.y) * taps + tap) * tiles.channels + channel] = static_cast<float>(total);
    }
  }
};

// Element i of the filter (C, taps): the row blocks' sums in order.
struct MergeFilter {
  const float* partial;
  float* dw;
  std::int64_t channels, taps;
  int row_blocks;
  bool accumulate;
  LS_DEVICE void operator()(std::int64_t i) const {
    const std::int64_t tap = i / channels, channel = i % channels;
    float& out = dw[channel * taps + tap];
    double total = accumulate ? static_cast<double>(out) : 0.0;
    for (int b = 0; b < row_blocks; ++b) total += static_cast<double>(partial[(b * taps + tap) * channels + channel]);
    out = static_cast<float>(total);
  }
};

Pool2dParams windows_of(const Shape& w, const Conv2dParams& params) {
  return {.kernel = {static_cast<int>(w[2]), static_cast<int>(w[3])}, .stride = params.stride, .pad = params.pad};
}

template <class T>
Tensor filter_table(Stream stream, ConstView w) {
  const std::int64_t channels = w.shape[0], taps = w.shape[2] * w.shape[3];
  Tensor table = Tensor::empty({taps, channels}, DType::kF32, w.device);
  for_each_index(stream, taps * channels, TransposeFilter<T>{w.data<T>(), static_cast<float*>(table.ptr()), channels, taps});
  return table;
}

template <class T, int N>
void filter_gradient(Stream stream, ConstView x, ConstView dy, const Conv2dParams& params, View dw, GradMode mode) {
  constexpr int kBlocksPerSm = 4;
  const std::int64_t channels = x.shape[1], taps = dw.shape[2] * dw.shape[3];
  const ChannelTiles tiles = reduction_tiles(dy.numel() / channels, channels, N, kBlocksPerSm);
  Tensor partial = Tensor::empty({tiles.row_blocks, taps, channels}, DType::kF32, x.device);
  float* sums = static_cast<float*>(partial.ptr());
  const DepthwiseFilterSums<T, N> kernel{tiles, {x.shape, dy.shape, windows_of(dw.shape, params), N}, x.data<T>(), dy.data<T>(), sums};
  launch(stream, {tiles.tiles, tiles.row_blocks * kernel.tap_groups()}, kernel);
  for_each_index(stream, taps * channels,
                 MergeFilter{sums, dw.data<float>(), channels, taps, tiles.row_blocks, mode == GradMode::kAccumulate});
}

}  // namespace

bool is_depthwise(const Shape& x, const Shape& w, const Conv2dParams& params) {
  return params.groups > 1 && x[1] == params.groups && w[0] == params.groups && params.dilation == Pair{1, 1} && w[2] * w[3] <= 121;
}

void depthwise_forward(Stream stream, ConstView x, ConstView w, const Conv2dParams& params, View y) {
  const Pool2dParams windows = windows_of(w.shape, params);
  with_element_type(x.dtype, "conv2d_forward", [&]<class T>(T) {
    const Tensor table = filter_table<T>(stream, w);
    const float* taps = static_cast<const float*>(table.ptr());
    if (fits_units<T>(x.shape[1], x.ptr, y.ptr))
      launch_pixels(stream, y.shape, DepthwiseForward<T, kUnit>{{x.shape, y.shape, windows, kUnit}, x.data<T>(), taps, y.data<T>()});
    else
      launch_pixels(stream, y.shape, DepthwiseForward<T, 1>{{x.shape, y.shape, windows, 1}, x.data<T>(), taps, y.data<T>()});
  });
}

void depthwise_backward_data(Stream stream, ConstView dy, ConstView w, const Conv2dParams& params, View dx, GradMode mode) {
  const Pool2dParams windows = windows_of(w.shape, params);
  const bool accumulate = mode == GradMode::kAccumulate;
  with_element_type(dy.dtype, "conv2d_backward_data", [&]<class T>(T) {
    const Tensor table = filter_table<T>(stream, w);
    const float* taps = static_cast<const float*>(table.ptr());
    if (fits_units<T>(dx.shape[1], dx.ptr, dy.ptr))
      launch_pixels(stream, dx.shape,
                    DepthwiseData<T, kUnit>{{dx.shape, dy.shape, windows, kUnit}, dy.data<T>(), taps, dx.data<T>(), accumulate});
    else
      launch_pixels(stream, dx.shape, DepthwiseData<T, 1>{{dx.shape, dy.shape, windows, 1}, dy.data<T>(), taps, dx.data<T>(), accumulate});
  });
}

void depthwise_backward_filter(Stream stream, ConstView x, ConstView dy, const Conv2dParams& params, View dw, GradMode mode) {
  with_element_type(x.dtype, "conv2d_backward_filter", [&]<class T>(T) {
    if (fits_units<T>(x.shape[1], x.ptr, dy.ptr))
      filter_gradient<T, kUnit>(stream, x, dy, params, dw, mode);
    else
      filter_gradient<T, 1>(stream, x, dy, params, dw, mode);
  });
}

}  // namespace lockstep::cuda
