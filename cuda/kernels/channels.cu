// Kernels that know the channel of an element: copies of channels, padding, biases, bytes to images, mixed images.
//
// copy, pad, unpad: read and write each element once. add_bias: reads and writes y. normalise_image: 1 byte in, sizeof(T) out.
// mix_images: reads an element and its partner's, writes it.
// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "core/error.h"
#include "core/mix_row.h"
#include "cuda/kernels/elementwise.h"
#include "cuda/kernels/map.h"

namespace lockstep::cuda {
namespace {

// Of each row (a pixel), `columns` elements of dst: the first `count` from src, the others 0. A thread writes N of them.
template <class Src, class Dst, int N>
struct CopyRows {
  const Src* src;
  Dst* dst;
  std::int64_t src_stride, dst_stride, count, columns;
  bool whole_source;  // count == columns, and packs of src are aligned
  bool accumulate;

  LS_DEVICE void operator()(std::int64_t i) const {
    const std::int64_t packs = columns / N, row = i / packs, column = (i - row * packs) * N;
    const Pack<Src, N> in = read_pack<N>(src + row * src_stride, column, count, whole_source);
    Dst* to = dst + row * dst_stride + column;
    Pack<Dst, N> out{};
    if (accumulate) out = load_pack<Dst, N>(to);
    for (int j = 0; j < N; ++j) {
      const float value = to_float(in.at[j]);
      out.at[j] = from_float<Dst>(accumulate ? to_float(out.at[j]) + value : value);
    }
    store_pack<Dst, N>(to, out);
  }
};

template <class Src, class Dst>
struct RowCopy {
  const Src* src;
  Dst* dst;
  std::int64_t rows, src_stride, dst_stride, count, columns;
  GradMode mode;
};

// False when packs of N don't fit dst's rows.
template <int N, class Src, class Dst>
bool copy_rows_in_packs(Stream stream, const RowCopy<Src, Dst>& copy) {
  if (copy.columns % N != 0 || copy.dst_stride % N != 0 || !packs_aligned<N>(copy.dst)) return false;
  const bool whole = copy.count == copy.columns && copy.src_stride % N == 0 && packs_aligned<N>(copy.src);
  for_each_index(stream, copy.rows * (copy.columns / N),
                 CopyRows<Src, Dst, N>{copy.src, copy.dst, copy.src_stride, copy.dst_stride, copy.count, copy.columns, whole,
                                       copy.mode == GradMode::kAccumulate});
  return true;
}

template <class Src, class Dst>
void copy_rows(Stream stream, const RowCopy<Src, Dst>& copy) {
  if (copy.columns == 0) return;
  if (copy_rows_in_packs<kPackSize<Dst>>(stream, copy)) return;
  if (copy_rows_in_packs<4>(stream, copy)) return;
  copy_rows_in_packs<1>(stream, copy);
}

std::int64_t rows_of(ConstView view) { return view.numel() / view.shape[1]; }

// y = x + bias[channel], N channels at a time.
template <class X, class Y, int N>
struct AddBias {
  const X* x;
  const float* bias;
  Y* y;
  std::int64_t channels;

  LS_DEVICE void operator()(std::int64_t i) const {
    const std::int64_t begin = i * N, channel = begin % channels;
    const Pack<X, N> in = load_pack<X, N>(x + begin);
    const Pack<float, N> shift = load_pack<float, N>(bias + channel);
    Pack<Y, N> out;
    for (int j = 0; j < N; ++j) out.at[j] = from_float<Y>(to_float(in.at[j]) + shift.at[j]);
    store_pack<Y, N>(y + begin, out);
  }
};

template <int N, class X, class Y>
bool add_bias_in_packs(Stream stream, const X* x, const float* bias, Y* y, std::int64_t numel, std::int64_t channels) {
  if (channels % N != 0 || !packs_aligned<N>(x) || !packs_aligned<N>(bias) || !packs_aligned<N>(y)) return false;
  for_each_index(stream, numel / N, AddBias<X, Y, N>{x, bias, y, channels});
  return true;
}

constexpr int kMaxChannels = 64;

// (x / 255 - mean) * inv_std as x * scale + shift. kChannels: 3, or 0 for any number.
template <class T, int N, int kChannels>
struct NormaliseImage {
  const std::uint8_t* x;
  T* y;
  std::int64_t n;
  int channels;
  bool aligned;
  float scale[kMaxChannels], shift[kMaxChannels];

  LS_DEVICE void operator()(std::int64_t i) const {
    const std::int64_t begin = i * N;
    const bool whole = aligned && begin + N <= n;
    const Pack<std::uint8_t, N> in = read_pack<N>(x, begin, n, whole);
    Pack<T, N> out;
    if constexpr (kChannels > 0) {  // the thread's own rotation of the table: no look-up per element
      float a[kChannels], b[kChannels];
      int channel = static_cast<int>(begin % kChannels);
      for (int k = 0; k < kChannels; ++k) {
        a[k] = scale[channel];
        b[k] = shift[channel];
        channel = channel + 1 == kChannels ? 0 : channel + 1;
      }
      for (int j = 0; j < N; ++j) out.at[j] = from_float<T>(static_cast<float>(in.at[j]) * a[j % kChannels] + b[j % kChannels]);
    } else {
      int channel = static_cast<int>(begin % channels);
      for (int j = 0; j < N; ++j) {
        out.at[j] = from_float<T>(static_cast<float>(in.at[j]) * scale[channel] + shift[channel]);
        channel = channel + 1 == channels ? 0 : channel + 1;
      }
    }
    write_pack<N>(y, begin, n, whole, out);
  }
};

template <class T, int kChannels>
void normalise(Stream stream, ConstView x, std::span<const float> mean, std::span<const float> inv_std, View y) {
  constexpr int kN = kPackSize<T>;
  NormaliseImage<T, kN, kChannels> work{.x = x.data<std::uint8_t>(), .y = y.data<T>(), .n = x.numel(), .channels = static_cast<int>(x.shape[1]),
                                        .aligned = false, .scale = {}, .shift = {}};
  work.aligned = packs_aligned<kN>(work.x) && packs_aligned<kN>(work.y);
  for (std::size_t c = 0; c < mean.size(); ++c) {
    work.scale[c] = static_cast<float>(static_cast<double>(inv_std[c]) / 255.0);
    work.shift[c] = static_cast<float>(-static_cast<double>(mean[c]) * static_cast<double>(inv_std[c]));
  }
  for_each_index(stream, blocks_for(work.n, kN), work);
}

// A pack lies in one image, as an image's size is a multiple of N; without that N = 1.
template <class T, int N>
struct MixImages {
  const T* x;
  const MixRow* rows;
  T* y;
  std::int64_t size;  // elements of an image
  std::int64_t line;  // of a row of pixels
  int channels;

  LS_DEVICE void operator()(std::int64_t i) const {
    const std::int64_t begin = i * N, image = begin / size, at = begin - image * size;
    const MixRow row = rows[image];
    Pack<T, N> own = load_pack<T, N>(x + begin);
    if (row.height > 0 || row.weight < 1) {
      const Pack<T, N> other = load_pack<T, N>(x + row.partner * size + at);
      for (int j = 0; j < N; ++j) own.at[j] = mixed(row, own.at[j], other.at[j], at + j);
    }
    store_pack<T, N>(y + begin, own);
  }

  LS_DEVICE T mixed(const MixRow& row, T own, T other, std::int64_t at) const {
    if (row.height == 0) return from_float<T>(row.weight * to_float(own) + (1.0f - row.weight) * to_float(other));
    const std::int64_t h = at / line, w = (at - h * line) / channels;
    return h >= row.top && h < row.top + row.height && w >= row.left && w < row.left + row.width ? other : own;
  }
};

template <class T, int N>
bool mix_in_packs(Stream stream, ConstView x, ConstView mix, View y) {
  const std::int64_t line = x.shape[3] * x.shape[1], size = x.shape[2] * line;
  const MixImages<T, N> work{x.data<T>(), static_cast<const MixRow*>(mix.ptr), y.data<T>(), size, line, static_cast<int>(x.shape[1])};
  if (size % N != 0 || !packs_aligned<N>(work.x) || !packs_aligned<N>(work.y)) return false;
  for_each_index(stream, x.numel() / N, work);
  return true;
}

}  // namespace

void copy_channels(Stream stream, ConstView src, std::int64_t src_begin, View dst, std::int64_t dst_begin, std::int64_t count, GradMode mode) {
  LS_CHECK(src_begin >= 0 && dst_begin >= 0 && src_begin + count <= src.shape[1] && dst_begin + count <= dst.shape[1],
           "copy_channels: " + std::to_string(count) + " from " + std::to_string(src_begin) + " of " + src.shape.str() + " to " +
               std::to_string(dst_begin) + " of " + dst.shape.str());
  with_element_type(src.dtype, "copy_channels", [&](auto zero) {
    using T = decltype(zero);
    copy_rows(stream, RowCopy<T, T>{src.data<T>() + src_begin, dst.data<T>() + dst_begin, rows_of(src), src.shape[1], dst.shape[1], count, count,
                                    mode});
  });
}

void pad_channels(Stream stream, ConstView src, View dst) {
  LS_CHECK(src.shape[1] <= dst.shape[1], "pad_channels: " + src.shape.str() + " into " + dst.shape.str());
  with_element_type(src.dtype, "pad_channels", [&](auto zero) {
    using T = decltype(zero);
    copy_rows(stream, RowCopy<T, T>{src.data<T>(), dst.data<T>(), rows_of(src), src.shape[1], dst.shape[1], src.shape[1], dst.shape[1],
                                    GradMode::kOverwrite});
  });
}

void unpad_channels(Stream stream, ConstView src, View dst, GradMode mode) {
  LS_CHECK(src.shape[1] >= dst.shape[1], "unpad_channels: " + src.shape.str() + " into " + dst.shape.str());
  LS_CHECK(dst.dtype == src.dtype || dst.dtype == DType::kF32, "unpad_channels: into " + std::string(dtype_name(dst.dtype)));
  with_element_type(src.dtype, "unpad_channels", [&](auto zero) {
    using T = decltype(zero);
    const auto copy_to = [&]<class Dst>(Dst* to) {
      copy_rows(stream, RowCopy<T, Dst>{src.data<T>(), to, rows_of(src), src.shape[1], dst.shape[1], dst.shape[1], dst.shape[1], mode});
    };
    if (dst.dtype == DType::kF32) return copy_to(dst.data<float>());
    copy_to(dst.data<T>());
  });
}

void add_bias(Stream stream, ConstView x, ConstView bias, View y) {
  LS_CHECK(bias.numel() == y.shape[1] && x.numel() == y.numel(), "add_bias: " + bias.shape.str() + " to " + x.shape.str());
  with_element_type(x.dtype, "add_bias", [&](auto from) {
    with_element_type(y.dtype, "add_bias", [&](auto to) {
      const auto* in = x.data<decltype(from)>();
      auto* out = y.data<decltype(to)>();
      const float* shift = bias.data<float>();
      if (add_bias_in_packs<8>(stream, in, shift, out, y.numel(), y.shape[1])) return;
      if (add_bias_in_packs<4>(stream, in, shift, out, y.numel(), y.shape[1])) return;
      add_bias_in_packs<1>(stream, in, shift, out, y.numel(), y.shape[1]);
    });
  });
}

void add_bias(Stream stream, ConstView bias, View y) { add_bias(stream, y, bias, y); }

void normalise_image(Stream stream, ConstView x, std::span<const float> mean, std::span<const float> inv_std, View y) {
  const std::int64_t channels = x.shape[1];
  LS_CHECK(std::ssize(mean) == channels && std::ssize(inv_std) == channels, "normalise_image: statistics of another number of channels");
  if (channels > kMaxChannels)
    throw EnvironmentError("cuda: normalise_image of " + std::to_string(channels) + " channels: the GPU takes at most " +
                           std::to_string(kMaxChannels) + "; use a CPU backend");
  with_element_type(y.dtype, "normalise_image", [&](auto zero) {
    using T = decltype(zero);
    if (channels == 3) return normalise<T, 3>(stream, x, mean, inv_std, y);
    normalise<T, 0>(stream, x, mean, inv_std, y);
  });
}

void mix_images(Stream stream, ConstView x, ConstView mix, View y) {
  LS_CHECK(mix.numel() == x.shape[0] * kMixRowWords, "mix_images: rows " + mix.shape.str() + " for " + x.shape.str());
  with_element_type(x.dtype, "mix_images", [&](auto zero) {
    using T = decltype(zero);
    if (!mix_in_packs<T, kPackSize<T>>(stream, x, mix, y)) mix_in_packs<T, 1>(stream, x, mix, y);
  });
}

}  // namespace lockstep::cuda
