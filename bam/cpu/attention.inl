// Attention, flash-style (Dao et al. 2022, "FlashAttention", algorithms 1 and 4): scores exist one tile at a time, so
// memory is O(T). Scores are kept transposed, S^T (keys, queries): queries are lanes, so maxima and sums over keys need no
// reduction across lanes, and P^T is already the packed operand of P V.
//   forward:  S^T = K (scale Q)^T; m, l = running maximum and sum over key tiles; O = O e^(m_old - m) + P V;
//             out = gate O / l; lse = m + log l
//   backward: P = e^(S - lse); dP = dout V^T; dS = P (gate dP - sum(dout out)); dV += P^T (gate dout);
//             dK += dS^T (scale Q); dQ += dS (scale K); dgate = sum over keys of P dP, right for gate 0 too
// Forward saves out and lse. Key tiles are key_tile wide, from the segment's first key, on every instruction set; a key
// that is masked adds exactly 0, so a row's result does not depend on the rows beside it, and queries that see nothing of a key
// tile are left out, a panel at a time.
// dK and dV are chains over the query heads of the group, then queries; dQ is a chain over keys.
// Read once per instruction set, after gemm.inl.

inline constexpr int key_tile = 64, query_tile = 96;  // 96: whole tiles of rows and of columns on every instruction set
inline constexpr int query_panel = 32;                  // whole panels of columns on every instruction set
inline constexpr int query_block = 10 * query_tile;     // queries that the backward pass packs at a time
inline constexpr int key_slack = (key_tile + tile_rows - 1) / tile_rows * tile_rows;

// dst (rows, columns rounded up to tiles) in panels of tile_columns x rows, scaled by `by` and by_row[i * by_step] (null: 1).
__attribute__((noinline)) inline void pack_rows(float* dst, const float* x, std::int64_t ld, std::int64_t rows,
                                                std::int64_t columns, float by, const float* by_row, std::int64_t by_step) {
  for (std::int64_t j = 0; j < columns; j += 16) {
    int n = columns - j < 16 ? static_cast<int>(columns - j) : 16;
    float* to = dst + j / tile_columns * tile_columns * rows + j % tile_columns;
    for (std::int64_t i = 0; i < rows; ++i) {
      F32x16 f(by_row ? by * by_row[i * by_step] : by);
      store(to + i * tile_columns, f * (n == 16 ? load(x + i * ld + j) : load_part(x + i * ld + j, n)));
    }
  }
  if (tile_columns > 16 && columns % tile_columns != 0 && columns % tile_columns <= 16) {
    float* to = dst + columns / tile_columns * tile_columns * rows + 16;
    for (std::int64_t i = 0; i < rows; ++i) store(to + i * tile_columns, F32x16(0.0f));
  }
}

// Columns of queries: panels [d][tile_columns], scaled.
inline void pack_queries(float* dst, const float* x, std::int64_t ld, std::int64_t rows, std::int64_t d, float by) {
  pack(dst, tile_columns, {x, ld, nullptr, false}, 0, rows, 0, d);
  F32x16 f(by);
  std::int64_t n = ceil_div(rows, tile_columns) * tile_columns * d;
  if (by != 1.0f)
    for (std::int64_t i = 0; i < n; i += 16) store(dst + i, load(dst + i) * f);
}

// What a mask needs to know of a tile: query column c sees keys with index <= limit + c.
struct KeyMask {
  bool on = false;
  std::int64_t limit = 0;
};
BAM_INLINE F32x16 mask_limit(const KeyMask& mask, std::int64_t column) {
  alignas(64) float l[16];
  for (int i = 0; i < 16; ++i) l[i] = static_cast<float>(mask.limit + column + i);
  return load(l);
}

// One tile of online softmax: s (keys, queries) becomes P^T, `fix` the factor of what was summed before.
__attribute__((noinline)) inline void softmax_tile(float* s, std::int64_t keys, std::int64_t queries, const KeyMask& mask,
                                                   float* m, float* l, float* fix) {
  const F32x16 low(-__builtin_inff());
  for (std::int64_t c = 0; c < queries; c += 16) {
    F32x16 old = load(m + c), top = old;
    if (mask.on) {
      F32x16 limit = mask_limit(mask, c);
      for (std::int64_t k = 0; k < keys; ++k) {
        F32x16 x = select(F32x16(static_cast<float>(k)) > limit, low, load(s + k * query_tile + c));
        store(s + k * query_tile + c, x);
        top = maximum(top, x);
      }
    } else {
      for (std::int64_t k = 0; k < keys; ++k) top = maximum(top, load(s + k * query_tile + c));
    }
    F32x16 f = exp(old - top), total = load(l + c) * f;
    for (std::int64_t k = 0; k < keys; ++k) {
      F32x16 p = exp(load(s + k * query_tile + c) - top);
      store(s + k * query_tile + c, p);
      total = total + p;
    }
    store(m + c, top);
    store(l + c, total);
    store(fix + c, f);
  }
}

// Of queries of which the first that sees any key of a tile is number `first`, those before it, in whole panels.
BAM_INLINE std::int64_t unseen_queries(std::int64_t first) { return first > 0 ? first / query_panel * query_panel : 0; }

inline std::int64_t padded_dim(const AttentionArgs& a) { return ceil_div(a.head_dim, tile_columns) * tile_columns; }

// Query rows i0 .. i0 + n of one head of one segment.
__attribute__((noinline)) inline void attention_forward_tile(const AttentionArgs& a, float* space, const Segment& g, std::int64_t h,
                                                             std::int64_t i0, std::int64_t n) {
  const std::int64_t d = a.head_dim, wide = padded_dim(a), kv = h / a.group % a.kv_heads;
  const std::int64_t columns = ceil_div(n, 16) * 16, past = g.k_length - g.q_length;
  float *s = space, *m = s + key_slack * query_tile, *l = m + query_tile, *fix = l + query_tile, *q = fix + query_tile;
  // o: the last tile of rows may begin anywhere, and is written whole
  float *o = q + query_tile * d, *v = o + (query_tile + tile_rows) * wide, *k = v + key_tile * wide;
  pack_queries(q, f32(a.q) + (g.q_begin + i0) * a.q_row + h * d, a.q_row, n, d, a.scale);
  // finite, so that e^(old - new) is 0 and never NaN while a row has seen no key
  for (int i = 0; i < query_tile; ++i) m[i] = -3e38f, l[i] = 0;
  std::int64_t end = a.causal && past + i0 + n < g.k_length ? past + i0 + n : g.k_length;
  for (std::int64_t k0 = 0; k0 < end; k0 += key_tile) {
    std::int64_t keys = end - k0 < key_tile ? end - k0 : key_tile;
    pack(k, tile_rows, {f32(a.k) + (g.k_begin + k0) * a.k_row + kv * d, a.k_row, nullptr, false}, 0, keys, 0, d);
    const std::int64_t c = a.causal ? unseen_queries(k0 - past - i0) : 0;
    run_tiles(k, tile_rows * d, 1, tile_rows, q + c * d, tile_columns * d, d, s + c, query_tile, false, keys, n - c, true);
    softmax_tile(s + c, keys, columns - c, {a.causal && k0 + keys - 1 > past + i0 + c, past + i0 + c - k0}, m + c, l + c, fix + c);
    if (k0 > 0)
      for (std::int64_t i = c; i < n; ++i)
        if (fix[i] != 1.0f)
          for (std::int64_t j = 0; j < d; j += 16) store(o + i * wide + j, load(o + i * wide + j) * F32x16(fix[i]));
    pack_rows(v, f32(a.v) + (g.k_begin + k0) * a.v_row + kv * d, a.v_row, keys, d, 1.0f, nullptr, 0);
    run_tiles(s + c, tile_rows, 1, query_tile, v, tile_columns * keys, keys, o + c * wide, wide, k0 > 0, n - c, d, true);
  }
  for (std::int64_t c = 0; c < columns; c += 16) {
    F32x16 sum_of = load(l + c);
    store(fix + c, select(sum_of == F32x16(0.0f), F32x16(0.0f), F32x16(1.0f) / sum_of));
    store(l + c, load(m + c) + log(sum_of));
  }
  for (std::int64_t i = 0; i < n; ++i) {
    std::int64_t row = g.q_begin + i0 + i;
    float f = a.gate ? fix[i] * a.gate[row * a.gate_row + h / a.heads_per_gate] : fix[i];
    float* to = f32(a.out) + row * a.out_row + h * d;
    for (std::int64_t j = 0; j < d; j += 16) {
      F32x16 x = fix[i] != 0.0f ? load(o + i * wide + j) * F32x16(f) : F32x16(0.0f);  // a row that sees no key
      if (d - j >= 16) store(to + j, x);
      else store_part(to + j, x, static_cast<int>(d - j));
    }
    if (a.lse) a.lse[h * a.rows + row] = l[i];
  }
}

inline void attention_bf16(const Exec& exec, const AttentionArgs& a, bool backward);

inline void attention_forward(const Exec& exec, const AttentionArgs& a) {
  if (a.dtype == DType::bf16) return attention_bf16(exec, a, false);
  std::int64_t d = a.head_dim, wide = padded_dim(a);
  std::int64_t floats = key_slack * query_tile + 3 * query_tile + query_tile * (d + wide) + tile_rows * wide + key_tile * wide + key_slack * d + 64;
  // first[s]: query tiles before segment s
  auto* first = static_cast<std::int64_t*>(exec.scratch(exec.pool, exec.workers, static_cast<std::size_t>(a.segments + 1) * 8));
  first[0] = 0;
  for (std::int64_t s = 0; s < a.segments; ++s) first[s + 1] = first[s] + ceil_div(a.segment[s].q_length, query_tile);
  std::int64_t tiles = first[a.segments];
  parallel(exec, tiles * a.heads, [&](std::int64_t i, int worker) {
    // causal tiles grow towards the end of a segment: the longest first, so that none is left over at the end
    std::int64_t tile = tiles - 1 - i / a.heads, low = 0, high = a.segments;
    while (high - low > 1) {
      std::int64_t middle = (low + high) / 2;
      (first[middle] <= tile ? low : high) = middle;
    }
    const Segment& g = a.segment[low];
    std::int64_t i0 = (tile - first[low]) * query_tile, n = g.q_length - i0 < query_tile ? g.q_length - i0 : query_tile;
    attention_forward_tile(a, scratch(exec, worker, floats), g, i % a.heads, i0, n);
  });
}

// s becomes P^T, dp becomes dS^T; seen (null to skip) gathers the sum over keys of P dP.
__attribute__((noinline)) inline void softmax_gradient_tile(float* s, float* dp, std::int64_t keys, std::int64_t queries, const KeyMask& mask,
                                                            const float* lse, const float* dot, const float* gate, float* seen) {
  const F32x16 zero(0.0f);
  for (std::int64_t c = 0; c < queries; c += 16) {
    F32x16 limit = mask_limit(mask, c), top = load(lse + c), less = zero - load(dot + c), g = load(gate + c);
    F32x16 total = load(seen + c);
    for (std::int64_t k = 0; k < keys; ++k) {
      F32x16 p = exp(load(s + k * query_tile + c) - top), x = load(dp + k * query_tile + c);
      if (mask.on) p = select(F32x16(static_cast<float>(k)) > limit, zero, p);
      total = fma(p, x, total);
      store(s + k * query_tile + c, p);
      store(dp + k * query_tile + c, p * fma(g, x, less));
    }
    store(seen + c, total);
  }
}

struct AttentionRows {  // (heads, rows) of the whole call, shared
  float *dot = nullptr, *seen = nullptr;
};

inline std::int64_t packed_queries(const Segment& g) { return g.q_length < query_block ? ceil_div(g.q_length, query_panel) * query_panel : query_block; }
// The floats that attention_backward_head needs for a segment.
inline std::int64_t backward_floats(const AttentionArgs& a, const Segment& g) {
  const std::int64_t d = a.head_dim, wide = padded_dim(a);
  return 2 * key_slack * query_tile + 4 * query_tile + 2 * packed_queries(g) * (d + wide) + key_tile * wide + 2 * key_slack * d + 64;
}

// All that one KV head of one segment takes part in. Queries are packed once for all key tiles, a block at a time.
__attribute__((noinline)) inline void attention_backward_head(const AttentionArgs& a, float* space, const Segment& g, std::int64_t kv,
                                                              const AttentionRows& shared) {
  const std::int64_t d = a.head_dim, wide = padded_dim(a), past = g.k_length - g.q_length, queries = packed_queries(g);
  float *s = space, *dp = s + key_slack * query_tile, *lse = dp + key_slack * query_tile, *dot = lse + query_tile;
  float *gate = dot + query_tile, *seen = gate + query_tile, *q = seen + query_tile, *dout = q + queries * d;
  float *q_rows = dout + queries * d, *dout_rows = q_rows + queries * wide, *k_rows = dout_rows + queries * wide;
  float *k = k_rows + key_tile * wide, *v = k + key_slack * d + 16;
  float *dk = f32(a.dk) + g.k_begin * a.k_row + kv * d, *dv = f32(a.dv) + g.k_begin * a.v_row + kv * d;
  for (int i = 0; i < query_tile; ++i) lse[i] = dot[i] = gate[i] = seen[i] = 0;
  for (std::int64_t i = 0; i < g.k_length; ++i)
    for (std::int64_t j = 0; j < d; ++j) dk[i * a.k_row + j] = dv[i * a.v_row + j] = 0;

  for (std::int64_t h = 0; h < a.heads; ++h) {
    if (h / a.group % a.kv_heads != kv) continue;
    for (std::int64_t i = 0; i < g.q_length; ++i) {
      std::int64_t row = g.q_begin + i;
      const float *x = f32(a.dout) + row * a.dout_row + h * d, *y = f32(a.out) + row * a.out_row + h * d;
      F32x16 t(0.0f);
      for (std::int64_t j = 0; j < d; j += 16) {
        int n = d - j < 16 ? static_cast<int>(d - j) : 16;
        t = n == 16 ? fma(load(x + j), load(y + j), t) : fma(load_part(x + j, n), load_part(y + j, n), t);
      }
      shared.dot[h * a.rows + row] = sum(t);
      shared.seen[h * a.rows + row] = 0;
      if (g.k_length == 0)
        for (std::int64_t j = 0; j < d; ++j) f32(a.dq)[row * a.q_row + h * d + j] = 0;
    }
    for (std::int64_t b = 0; b < g.q_length && g.k_length > 0; b += query_block) {
      const std::int64_t some = g.q_length - b < query_block ? g.q_length - b : query_block;
      const float *block_queries = f32(a.q) + (g.q_begin + b) * a.q_row + h * d, *gradients = f32(a.dout) + (g.q_begin + b) * a.dout_row + h * d;
      pack_queries(q, block_queries, a.q_row, some, d, a.scale);
      pack_queries(dout, gradients, a.dout_row, some, d, 1.0f);
      pack_rows(q_rows, block_queries, a.q_row, some, d, a.scale, nullptr, 0);
      pack_rows(dout_rows, gradients, a.dout_row, some, d, 1.0f, a.gate ? a.gate + (g.q_begin + b) * a.gate_row + h / a.heads_per_gate : nullptr, a.gate_row);

      for (std::int64_t k0 = 0; k0 < g.k_length; k0 += key_tile) {
        // the first key tile visits all queries, seen or not, since it begins their sums
        const std::int64_t first = a.causal && k0 > 0 ? unseen_queries(k0 - past - b) : 0;
        if (first >= some) break;
        std::int64_t keys = g.k_length - k0 < key_tile ? g.k_length - k0 : key_tile;
        const float* key = f32(a.k) + (g.k_begin + k0) * a.k_row + kv * d;
        pack(k, tile_rows, {key, a.k_row, nullptr, false}, 0, keys, 0, d);
        pack_rows(k_rows, key, a.k_row, keys, d, a.scale, nullptr, 0);
        pack(v, tile_rows, {f32(a.v) + (g.k_begin + k0) * a.v_row + kv * d, a.v_row, nullptr, false}, 0, keys, 0, d);
        for (std::int64_t i0 = first; i0 < some; i0 += query_tile) {
          std::int64_t n = some - i0 < query_tile ? some - i0 : query_tile, row = g.q_begin + b + i0;
          for (std::int64_t i = 0; i < n; ++i) {
            lse[i] = a.lse[h * a.rows + row + i];
            dot[i] = shared.dot[h * a.rows + row + i];
            seen[i] = shared.seen[h * a.rows + row + i];
            gate[i] = a.gate ? a.gate[(row + i) * a.gate_row + h / a.heads_per_gate] : 1.0f;
          }
          run_tiles(k, tile_rows * d, 1, tile_rows, q + i0 * d, tile_columns * d, d, s, query_tile, false, keys, n, true);
          run_tiles(v, tile_rows * d, 1, tile_rows, dout + i0 * d, tile_columns * d, d, dp, query_tile, false, keys, n, true);
          softmax_gradient_tile(s, dp, keys, ceil_div(n, 16) * 16, {a.causal && k0 + keys - 1 > past + b + i0, past + b + i0 - k0}, lse, dot, gate, seen);
          for (std::int64_t i = 0; i < n; ++i) shared.seen[h * a.rows + row + i] = seen[i];
          run_tiles(s, tile_rows * query_tile, query_tile, 1, dout_rows + i0 * tile_columns, tile_columns * some, n, dv + k0 * a.v_row, a.v_row, true, keys, d, false);
          run_tiles(dp, tile_rows * query_tile, query_tile, 1, q_rows + i0 * tile_columns, tile_columns * some, n, dk + k0 * a.k_row, a.k_row, true, keys, d, false);
          run_tiles(dp, tile_rows, 1, query_tile, k_rows, tile_columns * keys, keys, f32(a.dq) + row * a.q_row + h * d, a.q_row, k0 > 0, n, d, false);
        }
      }
    }
  }
}

inline void attention_backward(const Exec& exec, const AttentionArgs& a) {
  if (a.turned.positions) {
    AttentionArgs plain = a;
    plain.turned = {};
    attention_backward(exec, plain);
    rope(exec, rope_args(a.turned, a.dtype, a.rows, a.heads, a.dq, a.q_row, true));
    return rope(exec, rope_args(a.turned, a.dtype, a.rows, a.kv_heads, a.dk, a.k_row, true));
  }
  if (a.dtype == DType::bf16) return attention_bf16(exec, a, true);
  AttentionRows shared;
  shared.dot = scratch(exec, exec.workers, 2 * a.heads * a.rows);
  shared.seen = shared.dot + a.heads * a.rows;
  parallel(exec, a.segments * a.kv_heads, [&](std::int64_t i, int worker) {
    const Segment& g = a.segment[i / a.kv_heads];
    attention_backward_head(a, scratch(exec, worker, backward_floats(a, g)), g, i % a.kv_heads, shared);
  });
  if (!a.dgate) return;
  std::int64_t gates = a.heads / a.heads_per_gate;
  for (std::int64_t s = 0; s < a.segments; ++s)
    for (std::int64_t i = 0; i < a.segment[s].q_length; ++i) {
      std::int64_t row = a.segment[s].q_begin + i;
      for (std::int64_t e = 0; e < gates; ++e) {
        float total = 0;
        for (std::int64_t h = 0; h < a.heads_per_gate; ++h) total += shared.seen[(e * a.heads_per_gate + h) * a.rows + row];
        a.dgate[row * gates + e] = total;
      }
    }
}

// Attention of what bf16 operands are in float, results rounded once: right, and not yet fast.
inline void attention_bf16(const Exec& exec, const AttentionArgs& a, bool backward) {
  std::int64_t k_rows = 0;
  for (std::int64_t s = 0; s < a.segments; ++s)
    if (a.segment[s].k_begin + a.segment[s].k_length > k_rows) k_rows = a.segment[s].k_begin + a.segment[s].k_length;
  const std::int64_t wide = a.heads * a.head_dim, narrow = a.kv_heads * a.head_dim, q = a.rows * wide, k = k_rows * narrow;
  // Not scratch: the fp32 rows use that.
  const std::unique_ptr<float[]> space(new float[static_cast<std::size_t>(2 * q + 2 * k + (backward ? 2 * q + 2 * k : 0))]);
  AttentionArgs s = a;
  s.dtype = DType::f32;
  float* next = space.get();
  struct View {
    float* own;
    void* theirs;
    std::int64_t rows, columns, stride;
  } back[3];
  int results = 0;
  auto widen = [&](const void* from, std::int64_t stride, std::int64_t rows, std::int64_t columns) {
    float* to = next;
    next += rows * columns;
    parallel(exec, rows, [&](std::int64_t i, int) {
      for (std::int64_t j = 0; j < columns; ++j) to[i * columns + j] = to_float(static_cast<const Bf16*>(from)[i * stride + j]);
    });
    return to;
  };
  auto result = [&](void* theirs, std::int64_t stride, std::int64_t rows, std::int64_t columns) {
    float* own = widen(theirs, stride, rows, columns);  // rows of no segment stay
    back[results++] = {own, theirs, rows, columns, stride};
    return own;
  };
  s.q = widen(a.q, a.q_row, a.rows, wide);
  s.k = widen(a.k, a.k_row, k_rows, narrow);
  s.v = widen(a.v, a.v_row, k_rows, narrow);
  s.q_row = wide;
  s.k_row = s.v_row = narrow;
  if (backward) {
    s.out = widen(a.out, a.out_row, a.rows, wide);
    s.dout = widen(a.dout, a.dout_row, a.rows, wide);
    s.dq = result(a.dq, a.q_row, a.rows, wide);
    s.dk = result(a.dk, a.k_row, k_rows, narrow);
    s.dv = result(a.dv, a.v_row, k_rows, narrow);
  } else {
    s.out = result(a.out, a.out_row, a.rows, wide);
  }
  s.out_row = s.dout_row = wide;
  backward ? attention_backward(exec, s) : attention_forward(exec, s);
  for (int n = 0; n < results; ++n) {
    const View& v = back[n];
    parallel(exec, v.rows, [&](std::int64_t i, int) {
      for (std::int64_t j = 0; j < v.columns; ++j) static_cast<Bf16*>(v.theirs)[i * v.stride + j] = to_bf16(v.own[i * v.columns + j]);
    });
  }
}
