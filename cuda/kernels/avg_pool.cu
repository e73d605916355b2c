// Average pooling and the mean over whole images. Bytes as in max_pool.cu without the indices; global: x is read once (2 bytes per
// 16-bit element), or dx written once.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/pool.h"
#include "cuda/kernels/channel_tiles.h"
#include "cuda/kernels/pool_windows.h"

namespace lockstep::cuda {
namespace {

template <class T, int N>
struct MeanForward {
  static constexpr int kWidth = N;
  PoolGeometry geometry;
  const T* x;
  T* y;

  LS_DEVICE void compute(const PoolPlace& at) const {
    float sum[N];
    for (int k = 0; k < N; ++k) sum[k] = 0;
    geometry.for_taps(at, [&](int, std::int64_t offset) {
      const Pack<T, N> pixel = load_pack<T, N>(x + offset);
      for (int k = 0; k < N; ++k) sum[k] += to_float(pixel.at[k]);
    });
    const float share = geometry.share(at.row, at.column);
    for (int k = 0; k < N; ++k) sum[k] *= share;
    put_unit<T, N>(y + geometry.y_at(at.image, at.row, at.column) + at.channel, sum, false);
  }
};

template <class T, int N>
struct MeanBackward {
  static constexpr int kWidth = N;
  PoolGeometry geometry;
  const T* dy;
  T* dx;
  bool accumulate;

  LS_DEVICE void compute(const PoolPlace& at) const {
    float sum[N];
    for (int k = 0; k < N; ++k) sum[k] = 0;
    geometry.for_holders(at, [&](int p, int q, int, std::int64_t offset) {
      const Pack<T, N> gradient = load_pack<T, N>(dy + offset);
      const float share = geometry.share(p, q);
      for (int k = 0; k < N; ++k) sum[k] += to_float(gradient.at[k]) * share;
    });
    put_unit<T, N>(dx + geometry.x_at(at.image, at.row, at.column) + at.channel, sum, accumulate);
  }
};

// The pixels [begin, end) that window i of `windows` covers in adaptive pooling; with the roles changed, the windows of a pixel.
struct Stretch {
  int begin, end;
  LS_DEVICE Stretch(std::int64_t i, std::int64_t windows, std::int64_t pixels)
      : begin(static_cast<int>(i * pixels / windows)), end(static_cast<int>(((i + 1) * pixels + windows - 1) / windows)) {}
  LS_DEVICE int size() const { return end - begin; }
};

template <class T, int N>
struct AdaptiveForward {
  static constexpr int kWidth = N;
  PoolGeometry geometry;  // only its extents are used
  const T* x;
  T* y;

  LS_DEVICE void compute(const PoolPlace& at) const {
    const Stretch rows(at.row, geometry.h.windows, geometry.h.pixels), columns(at.column, geometry.w.windows, geometry.w.pixels);
    float sum[N];
    for (int k = 0; k < N; ++k) sum[k] = 0;
    for (int h = rows.begin; h < rows.end; ++h)
      for (int w = columns.begin; w < columns.end; ++w) {
        const Pack<T, N> pixel = load_pack<T, N>(x + geometry.x_at(at.image, h, w) + at.channel);
        for (int k = 0; k < N; ++k) sum[k] += to_float(pixel.at[k]);
      }
    const float share = 1.0f / static_cast<float>(rows.size() * columns.size());
    for (int k = 0; k < N; ++k) sum[k] *= share;
    put_unit<T, N>(y + geometry.y_at(at.image, at.row, at.column) + at.channel, sum, false);
  }
};

template <class T, int N>
struct AdaptiveBackward {
  static constexpr int kWidth = N;
  PoolGeometry geometry;
  const T* dy;
  T* dx;
  bool accumulate;

  LS_DEVICE void compute(const PoolPlace& at) const {
    const WindowAxis &h = geometry.h, &w = geometry.w;
    const Stretch above(at.row, h.pixels, h.windows), beside(at.column, w.pixels, w.windows);
    float sum[N];
    for (int k = 0; k < N; ++k) sum[k] = 0;
    for (int p = above.begin; p < above.end; ++p)
      for (int q = beside.begin; q < beside.end; ++q) {
        const Pack<T, N> gradient = load_pack<T, N>(dy + geometry.y_at(at.image, p, q) + at.channel);
        const float share = 1.0f / static_cast<float>(Stretch(p, h.windows, h.pixels).size() * Stretch(q, w.windows, w.pixels).size());
        for (int k = 0; k < N; ++k) sum[k] += to_float(gradient.at[k]) * share;
      }
    put_unit<T, N>(dx + geometry.x_at(at.image, at.row, at.column) + at.channel, sum, accumulate);
  }
};

// One block: one tile of channels of one image, whose pixels are the tile's rows. Threads sum in f32, the block in double.
template <class T, int N>
struct GlobalForward {
  static constexpr int kThreads = kReductionThreads, kPhases = 2, kInFlight = sizeof(Pack<T, N>) <= 16 ? 4 : 2;
  struct Shared {
    float sum[kThreads * N];
  };
  struct Local {};
  ChannelTiles tiles;  // of one image, with one row of blocks
  const T* x;
  T* y;

  template <int phase>
  LS_DEVICE void run(const Block& block, int thread, Shared& shared, Local&) const {
    const std::int64_t image = block.x / tiles.tiles;
    const Block tile{block.x - image * tiles.tiles, 0, tiles.tiles, 1};
    if constexpr (phase == 0)
      sum_pixels(image, tiles.units_of(tile, thread), thread, shared);
    else
      write_means(image, tile.x, thread, shared);
  }

  LS_DEVICE void sum_pixels(std::int64_t image, const ThreadUnits& mine, int thread, Shared& shared) const {
    const T* from = x + image * tiles.rows * tiles.channels;
    float sum[N];
    for (int k = 0; k < N; ++k) sum[k] = 0;
    for_batches<kInFlight>(mine, [&](auto batch, std::int64_t offset) {
      constexpr int n = decltype(batch)::value;
      Pack<T, N> pixels[n];
      for (int u = 0; u < n; ++u) pixels[u] = load_pack<T, N>(from + offset + u * mine.stride);
      for (int u = 0; u < n; ++u)
        for (int k = 0; k < N; ++k) sum[k] += to_float(pixels[u].at[k]);
    });
    for (int k = 0; k < N; ++k) shared.sum[thread * N + k] = sum[k];
  }

  LS_DEVICE void write_means(std::int64_t image, std::int64_t tile, int thread, const Shared& shared) const {
    const int wide = tiles.tile_channels();
    for (int j = thread; j < wide; j += kThreads) {
      const std::int64_t channel = tile * wide + j;
      if (channel >= tiles.channels) break;
      double total = 0;
      for (int row = 0; row < tiles.rows_at_once; ++row) total += static_cast<double>(shared.sum[row * wide + j]);
      y[image * tiles.channels + channel] = from_float<T>(static_cast<float>(total / static_cast<double>(tiles.rows)));
    }
  }
};

template <class T, int N>
struct GlobalBackward {
  static constexpr int kWidth = N;
  PoolGeometry geometry;  // its windows are not used
  const T* dy;
  T* dx;
  bool accumulate;

  LS_DEVICE void compute(const PoolPlace& at) const {
    const Pack<T, N> gradient = load_pack<T, N>(dy + at.image * geometry.channels + at.channel);
    const float share = 1.0f / static_cast<float>(static_cast<std::int64_t>(geometry.h.pixels) * geometry.w.pixels);
    float values[N];
    for (int k = 0; k < N; ++k) values[k] = to_float(gradient.at[k]) * share;
    put_unit<T, N>(dx + geometry.x_at(at.image, at.row, at.column) + at.channel, values, accumulate);
  }
};

template <class T, int N>
void global_forward(Stream stream, ConstView x, View y) {
  ChannelTiles tiles = reduction_tiles(x.shape[2] * x.shape[3], x.shape[1], N, 0);
  launch(stream, {x.shape[0] * tiles.tiles}, GlobalForward<T, N>{tiles, x.data<T>(), y.data<T>()});
}

}  // namespace

void avg_pool_forward(Stream stream, ConstView x, const Pool2dParams& params, View y) {
  with_element_type(x.dtype, "avg_pool_forward", [&]<class T>(T) {
    if (fits_units<T>(x.shape[1], x.ptr, y.ptr))
      launch_pixels(stream, y.shape, MeanForward<T, kUnit>{{x.shape, y.shape, params, kUnit}, x.data<T>(), y.data<T>()});
    else
      launch_pixels(stream, y.shape, MeanForward<T, 1>{{x.shape, y.shape, params, 1}, x.data<T>(), y.data<T>()});
  });
}

void avg_pool_backward(Stream stream, ConstView dy, const Pool2dParams& params, View dx, GradMode mode) {
  const bool accumulate = mode == GradMode::kAccumulate;
  with_element_type(dy.dtype, "avg_pool_backward", [&]<class T>(T) {
    if (fits_units<T>(dx.shape[1], dx.ptr, dy.ptr))
      launch_pixels(stream, dx.shape,
                    MeanBackward<T, kUnit>{{dx.shape, dy.shape, params, kUnit}, dy.data<T>(), dx.data<T>(), accumulate});
    else
      launch_pixels(stream, dx.shape, MeanBackward<T, 1>{{dx.shape, dy.shape, params, 1}, dy.data<T>(), dx.data<T>(), accumulate});
  });
}

void adaptive_avg_pool_forward(Stream stream, ConstView x, View y) {
  with_element_type(x.dtype, "adaptive_avg_pool_forward", [&]<class T>(T) {
    if (fits_units<T>(x.shape[1], x.ptr, y.ptr))
      launch_pixels(stream, y.shape, AdaptiveForward<T, kUnit>{{x.shape, y.shape, {}, kUnit}, x.data<T>(), y.data<T>()});
    else
      launch_pixels(stream, y.shape, AdaptiveForward<T, 1>{{x.shape, y.shape, {}, 1}, x.data<T>(), y.data<T>()});
  });
}

void adaptive_avg_pool_backward(Stream stream, ConstView dy, View dx, GradMode mode) {
  const bool accumulate = mode == GradMode::kAccumulate;
  with_element_type(dy.dtype, "adaptive_avg_pool_backward", [&]<class T>(T) {
    if (fits_units<T>(dx.shape[1], dx.ptr, dy.ptr))
      launch_pixels(stream, dx.shape, AdaptiveBackward<T, kUnit>{{dx.shape, dy.shape, {}, kUnit}, dy.data<T>(), dx.data<T>(), accumulate});
    else
      launch_pixels(stream, dx.shape, AdaptiveBackward<T, 1>{{dx.shape, dy.shape, {}, 1}, dy.data<T>(), dx.data<T>(), accumulate});
  });
}

void global_avg_pool_forward(Stream stream, ConstView x, View y) {
  with_element_type(x.dtype, "global_avg_pool_forward", [&]<class T>(T) {
    if (fits_units<T>(x.shape[1], x.ptr))
      global_forward<T, kUnit>(stream, x, y);
    else
      global_forward<T, 1>(stream, x, y);
  });
}

void global_avg_pool_backward(Stream stream, ConstView dy, View dx, GradMode mode) {
  const bool accumulate = mode == GradMode::kAccumulate;
  const Pool2dParams whole{.kernel = {1, 1}, .stride = {1, 1}};
  const Shape y{dx.shape[0], dx.shape[1], 1, 1};
  with_element_type(dy.dtype, "global_avg_pool_backward", [&]<class T>(T) {
    if (fits_units<T>(dx.shape[1], dx.ptr, dy.ptr))
      launch_pixels(stream, dx.shape, GlobalBackward<T, kUnit>{{dx.shape, y, whole, kUnit}, dy.data<T>(), dx.data<T>(), accumulate});
    else
      launch_pixels(stream, dx.shape, GlobalBackward<T, 1>{{dx.shape, y, whole, 1}, dy.data<T>(), dx.data<T>(), accumulate});
  });
}

}  // namespace lockstep::cuda
