// C (m, n) = [C +] A (m, k) B (k, n) in f32. A tile of C stays in registers while k runs: kTileRows broadcast elements of A
// times kTileVectors vectors of a panel of B, which lies packed in the L1 cache; blocks of A stay in the L2 cache.
// Every element of C is the sum over blocks of kDepth (the last: up to kMaxDepth) of fused products in the order of k,
// whatever m and n.
// SPDX-License-Identifier: Apache-2.0

#if LOCKSTEP_SIMD_WIDTH == 16
constexpr int kTileVectors = 4;  // 6 x 4 accumulators, 4 of B, 1 of A: 10 loads per 24 products, 29 of 32 registers
constexpr std::int64_t kDepth = 128;
#elif defined(__AVX2__)
constexpr int kTileVectors = 2;  // 6 x 2 accumulators, 2 of B, 1 of A: 15 of 16 registers
constexpr std::int64_t kDepth = 256;
#else
constexpr int kTileVectors = 1;  // 8 floats are two registers here: 12 accumulators, 2 of B, 1 of A
constexpr std::int64_t kDepth = 256;
#endif
constexpr std::int64_t kMaxDepth = kDepth + kDepth / 2;  // a short rest joins the last block
constexpr int kTileRows = 6;
constexpr int kPanel = kTileVectors * kW;   // columns of a packed panel
constexpr std::int64_t kBlockOfRows = 192;  // of A, between two visits of the same panel

// Memory that is read after the current panel or block: the hardware doesn't foresee short rows, so tiles fetch some lines
// of it as they go. May run past the end of an array: fetches have no effect there.
struct Ahead {
  const float* row = nullptr;
  std::int64_t pitch = 0, lines = 1, line = 0, per_step = 0;  // lines of 16 floats per row; the next one; how many per step

  // `rows` rows of `width` floats, spread over `steps`.
  void start(const float* first, std::int64_t row_pitch, std::int64_t rows, std::int64_t width, std::int64_t steps) {
    row = first, pitch = row_pitch, lines = (width + 15) / 16, line = 0;
    per_step = (rows * lines + steps - 1) / larger(1, steps);
  }
  void fetch() {
    for (std::int64_t i = 0; i < per_step; ++i) {
      __builtin_prefetch(row + line * 16, 0, 2);
      if (++line < lines) continue;
      line = 0;
      row += pitch;
    }
  }
};
constexpr std::int64_t kStep = 8;  // products of a tile between two fetches

// One tile's operands: k elements of kTileRows rows of A, k rows of a panel of B.
struct Tile {
  const float* a;
  std::int64_t a_row, a_col, a_next;  // a_next: from this tile of A to the next
  const float* b;
  std::int64_t b_row, k;
  float* c;
  std::int64_t c_row;
  int columns;  // of C; kPanel but for the last panel. B always has kPanel.
  bool accumulate;
  Ahead a_ahead, b_ahead;
};

// The last panel, by way of memory: only `columns` of each row are C's.
inline void store_columns(const Tile& t, int rows, const float* sums) {
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < t.columns; ++j) {
      float& c = t.c[i * t.c_row + j];
      c = t.accumulate ? c + sums[i * kPanel + j] : sums[i * kPanel + j];
    }
}

// GCC keeps the sums in registers only where all loops over them are unrolled.
#define LOCKSTEP_UNROLL _Pragma("GCC unroll 8")

template <int kRows>
inline void add_products(const float* a, std::int64_t a_row, const float* b, vf (&sum)[kRows][kTileVectors]) {
  vf right[kTileVectors];
  LOCKSTEP_UNROLL for (int v = 0; v < kTileVectors; ++v) right[v] = load(b + v * kW);
  LOCKSTEP_UNROLL for (int i = 0; i < kRows; ++i) {
    const vf left = splat(a[i * a_row]);
    LOCKSTEP_UNROLL for (int v = 0; v < kTileVectors; ++v) sum[i][v] += left * right[v];
  }
}

template <int kRows>
inline void store_tile(const Tile& t, const vf (&sum)[kRows][kTileVectors]) {
  float* c = t.c;
  if (t.accumulate) {
    LOCKSTEP_UNROLL for (int i = 0; i < kRows; ++i, c += t.c_row)
      LOCKSTEP_UNROLL for (int v = 0; v < kTileVectors; ++v) store(c + v * kW, load(c + v * kW) + sum[i][v]);
  } else {
    LOCKSTEP_UNROLL for (int i = 0; i < kRows; ++i, c += t.c_row)
      LOCKSTEP_UNROLL for (int v = 0; v < kTileVectors; ++v) store(c + v * kW, sum[i][v]);
  }
}

// On the way it fetches C and the next tile of A.
template <int kRows>
__attribute__((noinline)) void multiply_tile(Tile& t) {
  vf sum[kRows][kTileVectors];
  LOCKSTEP_UNROLL for (int i = 0; i < kRows; ++i)
    LOCKSTEP_UNROLL for (int v = 0; v < kTileVectors; ++v) sum[i][v] = vf{};
  const float *a = t.a, *b = t.b, *next = t.a + t.a_next;
  const std::int64_t a_row = t.a_row, a_col = t.a_col, b_row = t.b_row, steps = t.k / kStep;
  LOCKSTEP_UNROLL for (int i = 0; i < kRows; ++i)
    LOCKSTEP_UNROLL for (int v = 0; v < kPanel; v += 16) __builtin_prefetch(t.c + i * t.c_row + v, 1);
  for (std::int64_t step = 0; step < steps; ++step, next += kStep) {
    for (int p = 0; p < kStep; ++p, a += a_col, b += b_row) add_products<kRows>(a, a_row, b, sum);
    if (step % 2 == 0) {
      LOCKSTEP_UNROLL for (int i = 0; i < kRows; ++i) __builtin_prefetch(next + i * a_row);
    }
    t.a_ahead.fetch();
    t.b_ahead.fetch();
  }
  for (std::int64_t p = steps * kStep; p < t.k; ++p, a += a_col, b += b_row) add_products<kRows>(a, a_row, b, sum);
  if (t.columns == kPanel) return store_tile<kRows>(t, sum);
  float sums[kRows * kPanel];
  LOCKSTEP_UNROLL for (int i = 0; i < kRows; ++i)
    LOCKSTEP_UNROLL for (int v = 0; v < kTileVectors; ++v) store(sums + i * kPanel + v * kW, sum[i][v]);
  store_columns(t, kRows, sums);
}
#undef LOCKSTEP_UNROLL

// All rows of C for one panel and one block of k.
void multiply_panel(Tile& t, std::int64_t m) {
  std::int64_t i = 0;
  for (; i + kTileRows <= m; i += kTileRows) {
    multiply_tile<kTileRows>(t);
    t.a += t.a_next;
    t.c += kTileRows * t.c_row;
  }
  switch (m - i) {
    case 1: return multiply_tile<1>(t);
    case 2: return multiply_tile<2>(t);
    case 3: return multiply_tile<3>(t);
    case 4: return multiply_tile<4>(t);
    case 5: return multiply_tile<5>(t);
    default: return;
  }
}

// `columns` <= kPanel columns of k rows of B, the missing ones zero.
void pack_rows(const float* b, std::int64_t b_row, std::int64_t k, int columns, float* panel) {
  for (std::int64_t p = 0; p < k; ++p, b += b_row, panel += kPanel) {
    if (columns == kPanel) {
      for (int v = 0; v < kTileVectors; ++v) store(panel + v * kW, load(b + v * kW));
    } else {
      for (int j = 0; j < kPanel; ++j) panel[j] = j < columns ? b[j] : 0.0f;
    }
  }
}

inline void transpose_square(const float* from, std::int64_t from_row, float* to, std::int64_t to_row) {
  vf rows[kW];
  for (int i = 0; i < kW; ++i) rows[i] = load(from + i * from_row);
  transpose(rows);
  for (int i = 0; i < kW; ++i) store(to + i * to_row, rows[i]);
}

// The same from B's transpose: column j of B at b + j * b_col.
void pack_columns(const float* b, std::int64_t b_col, std::int64_t k, int columns, float* panel) {
  for (std::int64_t p = 0; p < k; p += kW)
    for (int j = 0; j < kPanel; j += kW) {
      if (p + kW <= k && j + kW <= columns) {
        transpose_square(b + j * b_col + p, b_col, panel + p * kPanel + j, kPanel);
        continue;
      }
      for (std::int64_t q = p; q < smaller(k, p + kW); ++q)
        for (int i = j; i < j + kW; ++i) panel[q * kPanel + i] = i < columns ? b[i * b_col + q] : 0.0f;
    }
}

std::int64_t packed_size(std::int64_t n, std::int64_t k) { return (n + kPanel - 1) / kPanel * kPanel * k; }

// Panel by panel, all of k: what Gemm::b_packed means.
void pack(const float* b, std::int64_t b_row, std::int64_t b_col, std::int64_t n, std::int64_t k, float* packed) {
  for (std::int64_t j = 0; j < n; j += kPanel, packed += kPanel * k) {
    const int columns = static_cast<int>(smaller(kPanel, n - j));
    if (b_col == 1)
      pack_rows(b + j, b_row, k, columns, packed);
    else
      pack_columns(b + j * b_col, b_col, k, columns, packed);
  }
}

// A's transpose lies row by row (a_row = 1): tiles of kTileRows x depth become contiguous, kLeftTile apart. Eight floats are
// copied at once: what is too much lands where the next row of the tile, or the gap after the last one, lies.
constexpr std::int64_t kLeftTile = (kMaxDepth + 2) * kTileRows;
void pack_left(const float* a, std::int64_t a_col, std::int64_t m, std::int64_t depth, float* left) {
  typedef float eight __attribute__((vector_size(32), aligned(4), may_alias));
  for (std::int64_t p = 0; p < depth; ++p, a += a_col) {
    float* to = left + p * kTileRows;
    std::int64_t i = 0;
    for (; i + 8 <= m; i += kTileRows, to += kLeftTile) *reinterpret_cast<eight*>(to) = *reinterpret_cast<const eight*>(a + i);
    for (; i < m; i += kTileRows, to += kLeftTile)
      for (std::int64_t j = i; j < smaller(m, i + kTileRows); ++j) to[j - i] = a[j];
  }
}

// Sets b, b_row and what to fetch meanwhile: the next panel, or the first of the next block of k.
void choose_panel(const Gemm& g, Tile& t, std::int64_t start, std::int64_t j, std::int64_t steps, float* panel) {
  const bool last = j + kPanel >= g.n;
  if (g.b_packed) {
    t.b = g.b + j * g.k + start * kPanel;
    t.b_row = kPanel;
    t.b_ahead.start(last ? g.b + (start + t.k) * kPanel : t.b + kPanel * g.k, kPanel, t.k, kPanel, steps);
    return;
  }
  const float* b = g.b + start * g.b_row + j;
  t.b_ahead.start(last ? g.b + (start + t.k) * g.b_row : b + kPanel, g.b_row, t.k, kPanel, steps);
  if (t.columns == kPanel && (g.b_row == kPanel || g.m <= kTileRows)) {  // lies packed, or is read only once
    t.b = b;
    t.b_row = g.b_row;
    return;
  }
  pack_rows(b, g.b_row, t.k, t.columns, panel);
  t.b = panel;
  t.b_row = kPanel;
}

// At most kBlockOfRows rows of C.
void multiply_block(const Gemm& g, std::int64_t m, const float* a, float* c, float* panel, float* left) {
  const bool transposed = g.a_row == 1 && g.a_col != 1;
  for (std::int64_t start = 0, depth = 0; start < g.k; start += depth) {
    depth = g.k - start <= kMaxDepth ? g.k - start : kDepth;
    const std::int64_t steps = depth / kStep * ((m + kTileRows - 1) / kTileRows);
    const float* from = a + start * g.a_col;
    Tile block{.a = from, .a_row = g.a_row, .a_col = g.a_col, .a_next = kTileRows * g.a_row, .b = panel, .b_row = kPanel,
               .k = depth, .c = c, .c_row = g.c_row, .columns = kPanel, .accumulate = g.accumulate || start > 0,
               .a_ahead = {}, .b_ahead = {}};
    if (transposed) {
      if (g.n > kPanel || start + depth < g.k)  // also past the end: callers go on there
        block.a_ahead.start(from + depth * g.a_col, g.a_col, depth, m, steps * ((g.n + kPanel - 1) / kPanel));
      if (g.n > kPanel) {
        pack_left(from, g.a_col, m, depth, left);
        block.a = left, block.a_col = kTileRows, block.a_next = kLeftTile;
      }
    }
    for (std::int64_t j = 0; j < g.n; j += kPanel) {
      Tile tile = block;
      tile.c += j;
      tile.columns = static_cast<int>(smaller(kPanel, g.n - j));
      choose_panel(g, tile, start, j, steps, panel);
      multiply_panel(tile, m);
      block.a_ahead = tile.a_ahead;
    }
  }
}

void gemm(const Gemm& g) {
  alignas(64) float panel[kMaxDepth * kPanel];
  alignas(64) float left[kBlockOfRows / kTileRows * kLeftTile];
  const std::int64_t blocks = (g.m + kBlockOfRows - 1) / kBlockOfRows;
  const std::int64_t rows = (g.m + blocks * kTileRows - 1) / larger(1, blocks * kTileRows) * kTileRows;
  for (std::int64_t i = 0; i < g.m; i += rows)
    multiply_block(g, smaller(rows, g.m - i), g.a + i * g.a_row, g.c + i * g.c_row, panel, left);
  if (g.k > 0 || g.accumulate) return;
  for (std::int64_t i = 0; i < g.m; ++i)
    for (std::int64_t j = 0; j < g.n; ++j) g.c[i * g.c_row + j] = 0.0f;
}
