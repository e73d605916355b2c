// Batch norm forward: y = norm(x) [+ residual] [ReLU]. x and the residual are read once, y is written once: 4 bytes per 16-bit
// element, 6 with a residual, 1/8 more with a mask.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/batch_norm.h"
#include "cuda/kernels/norm_channels.h"

namespace lockstep::cuda {
namespace {

// What is computed, for both forms below. y may be x or residual: a thread has read an element before it writes it.
template <class T>
struct ApplyArguments {
  const T *x, *residual;  // residual: may be null
  NormPointers norm;
  bool relu;
  T* y;
  std::uint8_t* mask;  // may be null
};

// One thread: 8 channels of some rows, so a whole byte of the mask at a time.
template <class T, bool kResidual>
struct ApplyUnits {
  static constexpr int kThreads = kApplyThreads, kPhases = 1, N = kUnit;
  static constexpr int kInFlight = (sizeof(Pack<T, N>) <= 16 ? 4 : 2) / (kResidual ? 2 : 1);
  struct Shared {};
  struct Local {};
  ChannelTiles tiles;
  ApplyArguments<T> args;

  template <int>
  LS_DEVICE void run(const Block& block, int thread, Shared&, Local&) const {
    const ThreadUnits mine = tiles.units_of(block, thread);
    if (mine.count == 0) return;
    ChannelNorm<N> norms;
    norms.load(args.norm, tiles.first_channel(block.x, thread));
    for_batches<kInFlight>(mine, [&](auto batch, std::int64_t offset) {
      constexpr int n = decltype(batch)::value;
      Pack<T, N> value[n], added[n];
      for (int u = 0; u < n; ++u) {
        const std::int64_t at = offset + u * mine.stride;
        value[u] = load_pack<T, N>(args.x + at);
        if constexpr (kResidual) added[u] = load_pack<T, N>(args.residual + at);
      }
      for (int u = 0; u < n; ++u) write(norms, value[u], added[u], offset + u * mine.stride);
    });
  }

  LS_DEVICE void write(const ChannelNorm<N>& norms, const Pack<T, N>& value, const Pack<T, N>& added, std::int64_t at) const {
    Pack<T, N> result;
    for (int k = 0; k < N; ++k) {
      float v = norms(to_float(value.at[k]), k);
      if constexpr (kResidual) v += to_float(added.at[k]);
      result.at[k] = from_float<T>(args.relu ? relu_of(v) : v);
    }
    store_pack<T, N>(args.y + at, result);
    if (args.mask == nullptr) return;
    unsigned positive = 0;
    for (int k = 0; k < N; ++k) positive |= to_float(result.at[k]) > 0 ? 1u << k : 0u;
    args.mask[at / N] = static_cast<std::uint8_t>(positive);
  }
};

// Any shape: one thread, 8 neighbours in memory.
template <class T>
struct ApplyElements {
  std::int64_t numel, channels;
  ApplyArguments<T> args;

  LS_DEVICE void operator()(std::int64_t byte) const {
    std::int64_t channel = byte * 8 % channels;
    unsigned positive = 0;
    for (int k = 0; k < 8 && byte * 8 + k < numel; ++k) {
      const std::int64_t i = byte * 8 + k;
      float v = normalise(to_float(args.x[i]), args.norm.mean[channel], args.norm.inv_std[channel] * args.norm.gamma[channel],
                          args.norm.beta[channel]);
      if (args.residual != nullptr) v += to_float(args.residual[i]);
      args.y[i] = from_float<T>(args.relu ? relu_of(v) : v);
      if (to_float(args.y[i]) > 0) positive |= 1u << k;
      channel = channel + 1 == channels ? 0 : channel + 1;
    }
    if (args.mask != nullptr) args.mask[byte] = static_cast<std::uint8_t>(positive);
  }
};

}  // namespace

void batch_norm_apply(Stream stream, ConstView x, const NormVectors& norm, ConstView residual, bool relu, View y, View mask) {
  const std::int64_t channels = x.shape[1];
  with_element_type(x.dtype, "batch_norm_apply", [&]<class T>(T) {
    const ApplyArguments<T> args{x.data<T>(), residual ? residual.data<T>() : nullptr, NormPointers(norm), relu, y.data<T>(),
                                 relu && mask ? mask.data<std::uint8_t>() : nullptr};
    const ChannelTiles tiles = apply_tiles(rows_of(x.shape), channels, kUnit);
    if (!fits_units<T>(channels, x.ptr, residual.ptr, y.ptr))
      for_each_index(stream, blocks_for(x.numel(), 8), ApplyElements<T>{x.numel(), channels, args});
    else if (residual)
      launch(stream, tiles.grid(), ApplyUnits<T, true>{tiles, args});
    else
      launch(stream, tiles.grid(), ApplyUnits<T, false>{tiles, args});
  });
}

}  // namespace lockstep::cuda
