// SPDX-License-Identifier: Apache-2.0
#include "cpu/fast/winograd.h"

#include <algorithm>
#include <cstring>

#include "core/tensor.h"
#include "cpu/fast/parallel.h"

namespace lockstep {
namespace {

constexpr std::int64_t kPoints = 36;
constexpr std::int64_t kLine = 16;         // floats in a cache line, and in the widest vector
constexpr std::int64_t kSquare = 64;       // rows and columns of a product whose 36 results stay in the L2 cache
constexpr std::int64_t kDepthChunk = 128;  // rows of U that are made just before they are used
// Measured on a core with 2 MB of L2 cache and a slow path to the L3 cache:
constexpr std::int64_t kCacheFloats = 900 * 256;  // of a block's V and M, when U stays beside them
constexpr std::int64_t kReuse = 144;              // tiles of a block when U comes from the L3 cache for each block
constexpr std::int64_t kFewTiles = 256;
constexpr std::int64_t kDuReuse = 96;                                // tiles of a block when dU comes from the L3 cache
constexpr std::int64_t kDuFloats = kPoints * 256 * 256;              // larger dU are made in squares, from all tiles at once,
constexpr std::int64_t kBlockFloats = (std::int64_t{64} << 20) / 4;  // if V and M are not larger than this

std::int64_t round_up(std::int64_t n, std::int64_t step) { return (n + step - 1) / step * step; }

// The size of equal blocks of at most about `most` tiles; a multiple of the rows of gemm's tiles.
std::int64_t even_blocks(std::int64_t tiles, std::int64_t most) {
  const std::int64_t count = (tiles + most - 1) / most;
  return round_up((tiles + count - 1) / count, 6);
}

float* floats(Tensor& tensor) { return static_cast<float*>(tensor.ptr()); }
Tensor float_scratch(std::int64_t count) { return Tensor::empty({count}, DType::kF32); }

// The distance of two points' matrices of `elements` floats: an odd number of cache lines, so that the 36 stores of a tile
// do not meet in one set of the L1 cache.
std::int64_t point_step(std::int64_t elements) { return (round_up(elements, kLine) / kLine | 1) * kLine; }

// Tiles of 4 x 4 outputs (out_h, out_w), seen from an image whose pixel (0, 0) lies `pad` to the right and below tile 0's.
simd::WinogradGrid grid(std::int64_t h, std::int64_t w, std::int64_t c, std::int64_t out_h, std::int64_t out_w, std::int64_t pad_h,
                        std::int64_t pad_w) {
  return {.h = h, .w = w, .c = c, .pitch = c, .tiles_h = (out_h + 3) / 4, .tiles_w = (out_w + 3) / 4, .top = -pad_h, .left = -pad_w};
}

// Per-channel vectors padded with zeros to whole vectors.
class PaddedVectors {
 public:
  PaddedVectors() = default;
  PaddedVectors(std::int64_t count, std::int64_t c) : width_(round_up(c, kLine)), memory_(float_scratch(count * width_)) {
    std::memset(memory_.ptr(), 0, memory_.nbytes());
  }
  explicit operator bool() const { return static_cast<bool>(memory_); }
  float* operator[](std::int64_t i) { return memory_ ? floats(memory_) + i * width_ : nullptr; }
  const float* operator[](std::int64_t i) const { return memory_ ? static_cast<const float*>(memory_.ptr()) + i * width_ : nullptr; }

 private:
  std::int64_t width_ = 0;
  Tensor memory_;
};

// mean, scale, beta; nothing when there is no norm.
PaddedVectors norm_tables(const ConvNorm& norm, std::int64_t c) {
  if (norm.mean == nullptr) return {};
  PaddedVectors tables(3, c);
  for (std::int64_t i = 0; i < c; ++i) {
    tables[0][i] = norm.mean[i];
    tables[1][i] = norm.inv_std[i] * norm.gamma[i];
    tables[2][i] = norm.beta[i];
  }
  return tables;
}

std::int64_t tile_count(const simd::WinogradGrid& grid, std::int64_t images) { return images * grid.tiles_h * grid.tiles_w; }

// The instruction set's kernels and the threads.
struct Machine {
  const simd::SimdKernels& simd;
  int threads;

  template <class T>
  const simd::WinogradTransforms<T>& transforms() const { return simd.winograd.transforms<T>(); }

  // Columns of a panel of B: what gemm takes, or less where that would be mostly padding.
  std::int64_t panel_of(std::int64_t columns) const {
    const std::int64_t panel = simd.packed_size(1, 1);
    return 2 * columns <= panel ? round_up(columns, kLine) : panel;
  }
  void multiply(const simd::Gemm& product, std::int64_t panel) const {
    if (panel == simd.packed_size(1, 1)) return simd.gemm(product);
    simd::Gemm narrow = product;
    narrow.b_row = panel;
    simd.winograd.multiply_narrow(narrow);
  }
};

// What forward and data gradient share: input windows at x, outputs at y; U's rows are x's channels, its columns y's.
template <class T>
struct Layer {
  simd::WinogradGrid in, out;
  const T* x;
  PaddedVectors norm, bias;
  simd::WinogradFilter<T> filter;  // without memory for U
  T* y;
  bool accumulate;
  std::int64_t tiles;

  std::int64_t in_width() const { return round_up(in.c, kLine); }
  std::int64_t out_width() const { return round_up(out.c, kLine); }
};

// The 36 products of `m` rows of V, from row 0 and column `start` on, with U.
template <class T>
void multiply_points(const Machine& machine, const simd::WinogradPlanes& v, std::int64_t start, std::int64_t rows,
                     const simd::WinogradFilter<T>& u, const simd::WinogradPlanes& m, bool accumulate) {
  for (std::int64_t p = 0; p < kPoints; ++p)
    machine.multiply({.a = v.data + p * v.point + start, .a_row = v.panel, .a_col = 1, .b = u.packed + p * u.point, .b_row = 0,
                      .c = m.data + p * m.point, .c_row = m.panel, .m = rows, .n = u.rotate ? u.c : u.k, .k = u.rotate ? u.k : u.c,
                      .accumulate = accumulate, .b_packed = true},
                     u.panel);
}

// One block of tiles, from x to y. Scratch: the block's V and M.
template <class T>
void run_tiles(const Machine& machine, const Layer<T>& layer, const simd::WinogradFilter<T>& u, std::int64_t begin, std::int64_t end,
               float* scratch) {
  const std::int64_t in_width = layer.in_width(), out_width = layer.out_width();
  const simd::WinogradPlanes v{.data = scratch, .point = point_step((end - begin) * in_width), .panel = in_width, .panel_step = 0};
  const simd::WinogradPlanes m{.data = scratch + kPoints * v.point, .point = point_step((end - begin) * out_width),
                               .panel = out_width, .panel_step = 0};
  machine.transforms<T>().input(layer.in, layer.x, layer.norm[0], layer.norm[1], layer.norm[2], v, begin, end);
  multiply_points(machine, v, 0, end - begin, u, m, false);
  machine.transforms<T>().output(layer.out, m, layer.bias[0], layer.y, layer.accumulate, begin, end);
}

// All of U first, then blocks of tiles whose V and M stay in the L2 cache if it is large enough for a good block.
template <class T>
void run_by_tiles(const Machine& machine, const Layer<T>& layer) {
  const std::int64_t in_width = layer.in_width(), out_width = layer.out_width();
  const bool u_stays = kPoints * in_width * out_width <= kCacheFloats;
  const std::int64_t most = u_stays ? kCacheFloats / (kPoints * (in_width + out_width)) : kReuse;
  const std::int64_t block = even_blocks(layer.tiles, std::min(most, (layer.tiles + machine.threads - 1) / machine.threads));
  const std::int64_t blocks = (layer.tiles + block - 1) / block, each = (blocks + machine.threads - 1) / machine.threads;
  const std::int64_t block_floats = kPoints * (point_step(block * in_width) + point_step(block * out_width));
  simd::WinogradFilter<T> u = layer.filter;
  u.point = point_step(round_up(layer.out.c, u.panel) * layer.in.c);
  Tensor packed = float_scratch(kPoints * u.point), scratch = float_scratch(machine.threads * block_floats);
  u.packed = floats(packed);
  parallel_chunks(machine.threads, layer.out.c, kSquare, [&](auto begin, auto end) { machine.transforms<T>().filter(u, begin, end); });
  parallel_for(machine.threads, machine.threads, [&](std::int64_t thread) {
    for (std::int64_t b = thread * each; b < std::min(blocks, (thread + 1) * each); ++b)
      run_tiles(machine, layer, u, b * block, std::min(layer.tiles, (b + 1) * block), floats(scratch) + thread * block_floats);
  });
}

// kSquare columns of the output, from V to y. Scratch: a chunk of U, M.
template <class T>
void run_columns(const Machine& machine, const Layer<T>& layer, const simd::WinogradPlanes& v, std::int64_t begin, std::int64_t end,
                 float* scratch) {
  simd::WinogradFilter<T> u = layer.filter;
  u.packed = scratch;
  u.point = point_step(kSquare * kDepthChunk);
  (u.rotate ? u.c : u.k) = end - begin;
  const simd::WinogradPlanes m{.data = scratch + kPoints * u.point, .point = point_step(layer.tiles * kSquare), .panel = kSquare,
                               .panel_step = 0};
  for (std::int64_t start = 0; start < layer.in.c; start += kDepthChunk) {
    (u.rotate ? u.k : u.c) = std::min(kDepthChunk, layer.in.c - start);
    u.filter = layer.filter.filter + (u.rotate ? start * 9 * u.pitch + begin : begin * 9 * u.pitch + start);
    machine.transforms<T>().filter(u, 0, end - begin);
    multiply_points(machine, v, start, layer.tiles, u, m, start > 0);
  }
  simd::WinogradGrid out = layer.out;
  out.c = end - begin;
  machine.transforms<T>().output(out, m, layer.bias ? layer.bias[0] + begin : nullptr, layer.y + begin, layer.accumulate, 0,
                               layer.tiles);
}

// Few tiles and large filters: U, larger than anything else, is made in parts that never leave the cache.
template <class T>
void run_by_columns(const Machine& machine, const Layer<T>& layer) {
  const std::int64_t width = layer.in_width(), groups = (layer.out.c + kSquare - 1) / kSquare;
  const std::int64_t each = (groups + machine.threads - 1) / machine.threads;
  const std::int64_t group_floats = kPoints * (point_step(kSquare * kDepthChunk) + point_step(layer.tiles * kSquare));
  const std::int64_t point = point_step(layer.tiles * width);
  Tensor memory = float_scratch(kPoints * point), scratch = float_scratch(machine.threads * group_floats);
  const simd::WinogradPlanes v{.data = floats(memory), .point = point, .panel = width, .panel_step = 0};
  parallel_chunks(machine.threads, layer.tiles, 8, [&](auto begin, auto end) {
    simd::WinogradPlanes rows = v;
    rows.data += begin * width;
    machine.transforms<T>().input(layer.in, layer.x, layer.norm[0], layer.norm[1], layer.norm[2], rows, begin, end);
  });
  parallel_for(machine.threads, machine.threads, [&](std::int64_t thread) {
    for (std::int64_t g = thread * each; g < std::min(groups, (thread + 1) * each); ++g)
      run_columns(machine, layer, v, g * kSquare, std::min(layer.out.c, (g + 1) * kSquare), floats(scratch) + thread * group_floats);
  });
}

// By columns, V is read once for every kSquare columns; by tiles, U (36 in.c out.c) is written, then read for every block.
template <class T>
void run(const Machine& machine, const Layer<T>& layer) {
  const bool large = layer.in.c * layer.out.c >= 256 * 256;
  return large && layer.tiles <= kFewTiles ? run_by_columns(machine, layer) : run_by_tiles(machine, layer);
}

// The filter's gradient: dU (point) = M^T V with M = A dy A^T, summed over all tiles, then dw = G^T dU G.
template <class T>
struct FilterLayer {
  simd::WinogradGrid in, out;
  const T *x, *dy;
  PaddedVectors norm;
  float* dw;
  bool accumulate;
  std::int64_t tiles, block;
  simd::WinogradPlanes v, m;  // of a block; V in panels, as B of a Gemm
};

template <class T>
void transform_block(const Machine& machine, const FilterLayer<T>& layer, std::int64_t begin, std::int64_t end) {
  parallel_chunks(machine.threads, end - begin, 8, [&](auto from, auto to) {
    simd::WinogradPlanes v = layer.v, m = layer.m;
    v.data += from * v.panel;
    v.panel_step = v.panel * (end - begin);
    m.data += from * m.panel;
    machine.transforms<T>().input(layer.in, layer.x, layer.norm[0], layer.norm[1], layer.norm[2], v, begin + from, begin + to);
    machine.transforms<T>().gradient(layer.out, layer.dy, m, begin + from, begin + to);
  });
}

// dU of filters from k on and channels from c on, of one block of `rows` tiles.
template <class T>
void add_products(const Machine& machine, const FilterLayer<T>& layer, std::int64_t rows, std::int64_t k, std::int64_t c,
                  const simd::WinogradFilterGradient& part, float* du, bool accumulate) {
  parallel_for(machine.threads, kPoints, [&](std::int64_t p) {
    machine.multiply({.a = layer.m.data + p * layer.m.point + k, .a_row = 1, .a_col = layer.m.panel,
                      .b = layer.v.data + p * layer.v.point + c * rows, .b_row = 0, .c = du + p * part.point, .c_row = part.row,
                      .m = part.k, .n = part.c, .k = rows, .accumulate = accumulate, .b_packed = true},
                     layer.v.panel);
  });
}

// dU in squares of `side` filters and channels; all tiles for one square, then the next, when they are one block.
template <class T>
void run_squares(const Machine& machine, const FilterLayer<T>& layer, std::int64_t side) {
  const std::int64_t row = std::min(side, round_up(layer.in.c, layer.v.panel)), point = point_step(std::min(side, layer.out.c) * row);
  Tensor memory = float_scratch(kPoints * point);
  float* du = floats(memory);
  for (std::int64_t begin = 0; begin < layer.tiles; begin += layer.block) {
    const std::int64_t rows = std::min(layer.block, layer.tiles - begin);
    transform_block(machine, layer, begin, begin + rows);
    for (std::int64_t k = 0; k < layer.out.c; k += side)
      for (std::int64_t c = 0; c < layer.in.c; c += side) {
        const simd::WinogradFilterGradient part{.du = du, .point = point, .row = row, .dw = layer.dw + k * 9 * layer.in.c + c,
                                                .k = std::min(side, layer.out.c - k), .c = std::min(side, layer.in.c - c),
                                                .pitch = layer.in.c, .accumulate = layer.accumulate};
        add_products(machine, layer, rows, k, c, part, du, begin > 0);
        if (begin + rows == layer.tiles) machine.simd.winograd.filter_gradient(part);
      }
  }
}

// AVX512-BF16 doubles the rate of direct sums, so what is gained is less: measured on a Zen 4 core for 16 to 512 channels and
// images of 4 to 56 (bench/results/2026-11-30-epyc_zen4-1core-winograd_bf16.md), 1.2 to 1.6 where the rule says yes, in forward and
// data gradients from 64 channels on, in filter gradients everywhere.
bool wins_against_vectors(const ConvProblem& a, double used) {
  const std::int64_t channels = std::min(a.c, a.k), columns = a.pass == ConvPass::kForward ? a.k : a.c;
  const double score = used * static_cast<double>(columns) / static_cast<double>(round_up(columns, channels <= 32 ? kLine : kSquare));
  if (a.pass == ConvPass::kBackwardFilter) return channels >= 16 && score >= (channels >= 32 ? 0.7 : 0.9);
  return channels >= 32 && score >= (channels >= 64 ? 0.75 : 0.9);
}

}  // namespace

bool Winograd::can_run(const ConvProblem& a) {
  return (a.dtype == DType::kF32 || a.dtype == DType::kBF16) && a.r == 3 && a.s == 3 && a.stride_h == 1 && a.stride_w == 1 && a.dilation_h == 1 &&
         a.dilation_w == 1 && a.groups == 1 && a.pad_h >= 0 && a.pad_h <= 2 && a.pad_w >= 0 && a.pad_w <= 2;
}

// Measured for 8 to 512 channels, images of 4 to 56 and batches of 1 to 64, with AVX-512 and AVX2 (bench/kernels): the gain
// grows with the channels (1.2 at 16, 1.9 at 32, 2.5 from 64 on) and shrinks with the part of the tiles that lies outside
// the image and with the channels that vectors are padded by; few tiles don't pay for the filters' transform.
bool Winograd::wins(const ConvProblem& a, Bf16Products bf16) {
  if (!can_run(a) || (a.dtype == DType::kBF16 && bf16 == Bf16Products::kTiles)) return false;
  const std::int64_t image_tiles = (a.p + 3) / 4 * ((a.q + 3) / 4), channels = std::min(a.c, a.k);
  const double used = static_cast<double>(a.p * a.q) / static_cast<double>(16 * image_tiles);
  if (a.dtype == DType::kBF16 && bf16 == Bf16Products::kVectors) return a.n * image_tiles >= 32 && wins_against_vectors(a, used);
  const double filled = static_cast<double>(a.c * a.k) / static_cast<double>(round_up(a.c, kLine) * round_up(a.k, kLine));
  const double needed = channels >= 64 ? 0.5 : channels >= 32 ? 0.7 : 0.9;
  return channels >= 16 && a.n * image_tiles >= 32 && used * filled >= needed;
}

template <class T>
void Winograd::forward(const ConvProblem& a, const T* x, const ConvNorm& norm, const T* filter, const float* bias, T* y) const {
  const Machine machine{simd_, threads_};
  PaddedVectors padded_bias;
  if (bias != nullptr) {
    padded_bias = PaddedVectors(1, a.k);
    std::memcpy(padded_bias[0], bias, static_cast<std::size_t>(a.k) * sizeof(float));
  }
  const simd::WinogradGrid in = grid(a.h, a.w, a.c, a.p, a.q, a.pad_h, a.pad_w);
  run<T>(machine, {.in = in, .out = grid(a.p, a.q, a.k, a.p, a.q, 0, 0), .x = x, .norm = norm_tables(norm, a.c), .bias = padded_bias,
                .filter = {.filter = filter, .k = a.k, .c = a.c, .pitch = a.c, .packed = nullptr, .point = 0,
                           .panel = machine.panel_of(a.k), .rotate = false},
                .y = y, .accumulate = false, .tiles = tile_count(in, a.n)});
}

// dx = the convolution of dy, padded by 2 - pad, with the filters turned by 180 degrees and their channels swapped.
template <class T>
void Winograd::backward_data(const ConvProblem& a, const T* dy, const T* filter, T* dx, bool accumulate) const {
  const Machine machine{simd_, threads_};
  const simd::WinogradGrid in = grid(a.p, a.q, a.k, a.h, a.w, 2 - a.pad_h, 2 - a.pad_w);
  run<T>(machine, {.in = in, .out = grid(a.h, a.w, a.c, a.h, a.w, 0, 0), .x = dy, .norm = {}, .bias = {},
                .filter = {.filter = filter, .k = a.k, .c = a.c, .pitch = a.c, .packed = nullptr, .point = 0,
                           .panel = machine.panel_of(a.c), .rotate = true},
                .y = dx, .accumulate = accumulate, .tiles = tile_count(in, a.n)});
}

template <class T>
void Winograd::backward_filter(const ConvProblem& a, const T* x, const ConvNorm& norm, const T* dy, float* dfilter,
                               bool accumulate) const {
  const Machine machine{simd_, threads_};
  const simd::WinogradGrid in = grid(a.h, a.w, a.c, a.p, a.q, a.pad_h, a.pad_w);
  const std::int64_t panel = machine.panel_of(a.c), in_width = round_up(a.c, panel), out_width = round_up(a.k, kLine);
  const std::int64_t tiles = tile_count(in, a.n);
  const std::int64_t du_floats = kPoints * in_width * out_width, widths = kPoints * (in_width + out_width);
  const std::int64_t most = du_floats <= kCacheFloats ? kCacheFloats / widths : du_floats <= kDuFloats ? kDuReuse : kBlockFloats / widths;
  const std::int64_t block = even_blocks(tiles, most);
  const std::int64_t in_point = point_step(block * in_width), out_point = point_step(block * out_width);
  Tensor v = float_scratch(kPoints * in_point), m = float_scratch(kPoints * out_point);
  if (a.c % panel != 0) std::memset(v.ptr(), 0, v.nbytes());  // a panel's missing columns are multiplied, too
  const bool one_block = block >= tiles && machine.threads == 1;
  run_squares<T>(machine,
              {.in = in, .out = grid(a.p, a.q, a.k, a.p, a.q, 0, 0), .x = x, .dy = dy, .norm = norm_tables(norm, a.c), .dw = dfilter,
               .accumulate = accumulate, .tiles = tiles, .block = block,
               .v = {.data = floats(v), .point = in_point, .panel = panel, .panel_step = 0},
               .m = {.data = floats(m), .point = out_point, .panel = out_width, .panel_step = 0}},
              one_block ? kSquare : std::max(in_width, out_width));
}

using Word = simd::bf16_word;
template void Winograd::forward(const ConvProblem&, const float*, const ConvNorm&, const float*, const float*, float*) const;
template void Winograd::forward(const ConvProblem&, const Word*, const ConvNorm&, const Word*, const float*, Word*) const;
template void Winograd::backward_data(const ConvProblem&, const float*, const float*, float*, bool) const;
template void Winograd::backward_data(const ConvProblem&, const Word*, const Word*, Word*, bool) const;
template void Winograd::backward_filter(const ConvProblem&, const float*, const ConvNorm&, const float*, float*, bool) const;
template void Winograd::backward_filter(const ConvProblem&, const Word*, const ConvNorm&, const Word*, float*, bool) const;

}  // namespace lockstep
