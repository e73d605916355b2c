// Batch norm's gradient at its input: dx = gamma * inv_std * (g - sum_g / count - xhat * sum_g_xhat / count), g being dy where
// the ReLU's gate is open; and g itself for the residual. dy and x are read once, dx is written once: 6 bytes per 16-bit
// element, 2 more for the residual's gradient, 2 for each that is added to, 1/8 for a mask.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "cuda/kernels/batch_norm.h"
#include "cuda/kernels/norm_channels.h"

namespace lockstep::cuda {
namespace {

template <class T>
struct GradientArguments {
  const T *dy, *x;
  const std::uint8_t* bits;
  NormPointers norm;
  const float *sum_g, *sum_g_xhat;
  float inv_count;  // 0: evaluation, where mean and inv_std are constants
  T* dx;            // may be dy: a thread has read an element before it writes it
  T* dresidual;     // may be null
  bool add_to_dx, add_to_dresidual;
};

// A thread's channels: dx = scale * (g - shift - (x - mean) * slope).
template <int N>
struct ChannelGradient {
  float shift[N], slope[N];
  template <class T>
  LS_DEVICE void load(const GradientArguments<T>& args, std::int64_t channel) {
    float inv_std[N];
    load_channels(args.sum_g + channel, shift);
    load_channels(args.sum_g_xhat + channel, slope);
    load_channels(args.norm.inv_std + channel, inv_std);
    for (int k = 0; k < N; ++k) {
      shift[k] *= args.inv_count;
      slope[k] *= args.inv_count * inv_std[k];
    }
  }
};

template <class T, int N, Gate kGate>
struct GradientUnits {
  static constexpr int kThreads = kApplyThreads, kPhases = 1, kInFlight = sizeof(Pack<T, N>) <= 16 ? 2 : 1;
  struct Shared {};
  struct Local {};
  ChannelTiles tiles;
  GradientArguments<T> args;

  template <int>
  LS_DEVICE void run(const Block& block, int thread, Shared&, Local&) const {
    const ThreadUnits mine = tiles.units_of(block, thread);
    if (mine.count == 0) return;
    const std::int64_t channel = tiles.first_channel(block.x, thread);
    ChannelNorm<N> norms;
    norms.load(args.norm, channel);
    ChannelGradient<N> gradients;
    gradients.load(args, channel);
    for_batches<kInFlight>(mine, [&](auto batch, std::int64_t offset) {
      constexpr int n = decltype(batch)::value;
      Pack<T, N> gradient[n], value[n];
      unsigned open[n];
      for (int u = 0; u < n; ++u) {
        const std::int64_t at = offset + u * mine.stride;
        gradient[u] = load_pack<T, N>(args.dy + at);
        value[u] = load_pack<T, N>(args.x + at);
        if constexpr (kGate == Gate::kBits) open[u] = mask_bits<N>(args.bits, at);
      }
      for (int u = 0; u < n; ++u) write(norms, gradients, gradient[u], value[u], open[u], offset + u * mine.stride);
    });
  }

  LS_DEVICE void write(const ChannelNorm<N>& norms, const ChannelGradient<N>& gradients, const Pack<T, N>& gradient,
                       const Pack<T, N>& value, unsigned open, std::int64_t at) const {
    float g[N], dx[N];
    for (int k = 0; k < N; ++k) {
      const float x = to_float(value.at[k]);
      bool passes = true;
      if constexpr (kGate == Gate::kRecompute) passes = stays_positive<T>(norms(x, k));
      if constexpr (kGate == Gate::kBits) passes = ((open >> k) & 1u) != 0;
      g[k] = passes ? to_float(gradient.at[k]) : 0.0f;
      const float mean_part = args.inv_count == 0 ? 0.0f : gradients.shift[k] + (x - norms.mean[k]) * gradients.slope[k];
      dx[k] = norms.scale[k] * (g[k] - mean_part);
    }
    put_unit<T, N>(args.dx + at, dx, args.add_to_dx);
    if (args.dresidual != nullptr) put_unit<T, N>(args.dresidual + at, g, args.add_to_dresidual);
  }
};

template <class T, int N>
void apply_gradient(Stream stream, const Shape& shape, Gate gate, const GradientArguments<T>& args) {
  const ChannelTiles tiles = apply_tiles(rows_of(shape), shape[1], N);
  switch (gate) {
    case Gate::kNone: return launch(stream, tiles.grid(), GradientUnits<T, N, Gate::kNone>{tiles, args});
    case Gate::kBits: return launch(stream, tiles.grid(), GradientUnits<T, N, Gate::kBits>{tiles, args});
    case Gate::kRecompute: return launch(stream, tiles.grid(), GradientUnits<T, N, Gate::kRecompute>{tiles, args});
  }
}

}  // namespace

void batch_norm_backward_apply(Stream stream, ConstView dy, const ReluGate& gate, ConstView x, const NormVectors& norm, ConstView sum_g,
                               ConstView sum_g_xhat, double count, View dx, GradMode dx_mode, View dresidual, GradMode dresidual_mode) {
  LS_CHECK(dx.ptr != dresidual.ptr, "batch_norm_backward_apply: dx and dresidual are the same memory");
  with_element_type(x.dtype, "batch_norm_backward_apply", [&]<class T>(T) {
    const GradientArguments<T> args{.dy = dy.data<T>(), .x = x.data<T>(),
                                    .bits = gate.kind == Gate::kBits ? gate.bits.data<std::uint8_t>() : nullptr,
                                    .norm = NormPointers(norm), .sum_g = sum_g.data<float>(), .sum_g_xhat = sum_g_xhat.data<float>(),
                                    .inv_count = std::isfinite(count) ? static_cast<float>(1.0 / count) : 0.0f,
                                    .dx = dx.data<T>(), .dresidual = dresidual ? dresidual.data<T>() : nullptr,
                                    .add_to_dx = dx_mode == GradMode::kAccumulate,
                                    .add_to_dresidual = dresidual_mode == GradMode::kAccumulate};
    if (fits_units<T>(x.shape[1], dy.ptr, x.ptr, dx.ptr, dresidual.ptr))
      apply_gradient<T, kUnit>(stream, x.shape, gate.kind, args);
    else
      apply_gradient<T, 1>(stream, x.shape, gate.kind, args);
  });
}

}  // namespace lockstep::cuda
