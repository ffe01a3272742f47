// Attention forward in bf16 on tensor cores (mma.sync), flash-style: cpu/attention.inl has formulas and sources. A block owns 64 queries of a head, a warp 16 of them; scores, their softmax and the output stay in registers, and a score's fragment is,
// rounded to bf16, the next product's operand. K and V come in tiles of 64 keys by asynchronous copies: K of the next tile while the softmax runs, V while the scores do.
#pragma once
#include "attention_tiles.cuh"
#include "mma.cuh"

namespace bam::cuda {

inline constexpr int flash_queries = 64, flash_keys = 64, flash_threads = 128;

// Where chunk `chunk` (16 bytes) of row `row` of a tile of D columns lies, in bytes: eight rows of a column of chunks meet in no bank.
template <int D>
BAM_INLINE int flash_place(int row, int chunk) {
  return row * D * 2 + (D == 32 ? chunk ^ (row >> 1 & 3) : chunk ^ (row & 7)) * 16;
}
// Starts the copies of a tile; rows from `rows` on are zeros.
template <int D>
BAM_DEVICE void flash_load(unsigned char* to, const Bf16* from, std::int64_t stride, std::int64_t rows) {
  for (int n = thread(); n < 64 * D / 8; n += flash_threads) {
    const int row = n / (D / 8), chunk = n % (D / 8);
    copy_async(to + flash_place<D>(row, chunk), row < rows ? from + row * stride + chunk * 8 : from, row < rows);
  }
}
// Of the four lanes that share a row of a fragment.
BAM_DEVICE float max_quad(float x) {
  x = math::maximum(x, shuffle_xor(x, 1));
  return math::maximum(x, shuffle_xor(x, 2));
}
BAM_DEVICE float sum_quad(float x) {
  x = x + shuffle_xor(x, 1);
  return x + shuffle_xor(x, 2);
}
BAM_DEVICE std::uint32_t pack(float low, float high) { return to_bf16(low).bits | static_cast<std::uint32_t>(to_bf16(high).bits) << 16; }

template <int D>
struct FlashForwardKernel {
  AttentionArgs a;
  static constexpr std::int64_t tile_bytes = 64 * D * 2, shared_bytes = 3 * tile_bytes;

  BAM_DEVICE void operator()() const {
    const SegmentTile at = query_tile(a, block() / a.heads, flash_queries);
    if (!at.on) return;  // by the whole block
    const Segment g = at.segment;
    const std::int64_t h = block() % a.heads, kv = h / a.group % a.kv_heads, past = g.k_length - g.q_length, n = smaller(flash_queries, g.q_length - at.first);
    const std::int64_t end = a.causal ? smaller(g.k_length, past + at.first + n) : g.k_length;
    unsigned char *const tq = shared<unsigned char>(), *const tk = tq + tile_bytes, *const tv = tk + tile_bytes;
    const Bf16 *q = static_cast<const Bf16*>(a.q) + (g.q_begin + at.first) * a.q_row + h * D, *k = static_cast<const Bf16*>(a.k) + g.k_begin * a.k_row + kv * D, *v = static_cast<const Bf16*>(a.v) + g.k_begin * a.v_row + kv * D;
    const int lane = thread() % warp_lanes, warp = thread() / warp_lanes, matrix = lane / 8, r = lane % 8;
    flash_load<D>(tq, q, a.q_row, n);
    if (end > 0) flash_load<D>(tk, k, a.k_row, end);
    commit_copies();
    wait_copies<0>();
    sync();
    FragmentA fq[D / 16];
    BAM_UNROLL
    for (int d = 0; d < D / 16; ++d) load_matrices<false>(fq[d].r, tq + flash_place<D>(warp * 16 + matrix % 2 * 8 + r, d * 2 + matrix / 2));
    FragmentC out[D / 8] = {};
    float top[2] = {-3e38f, -3e38f}, total[2] = {0, 0};  // of rows lane / 4 and that + 8; finite, so that e^(old - new) is never NaN
    for (std::int64_t k0 = 0; k0 < end; k0 += flash_keys) {
      const std::int64_t keys = smaller(flash_keys, end - k0);
      flash_load<D>(tv, v + k0 * a.v_row, a.v_row, keys);  // its readers of the last tile are behind the barrier below, or the one above
      commit_copies();
      FragmentC s[flash_keys / 8] = {};
      BAM_UNROLL
      for (int d = 0; d < D / 16; ++d)
        BAM_UNROLL
        for (int j = 0; j < flash_keys / 8; j += 2) {
          std::uint32_t both[4];  // matrices: columns d and d + 8 of keys j, then of the next eight
          load_matrices<false>(both, tk + flash_place<D>(j * 8 + matrix / 2 * 8 + r, d * 2 + matrix % 2));
          mma(s[j], fq[d], {{both[0], both[1]}});
          mma(s[j + 1], fq[d], {{both[2], both[3]}});
        }
      float high[2] = {top[0], top[1]};
      BAM_UNROLL
      for (int j = 0; j < flash_keys / 8; ++j)
        BAM_UNROLL
        for (int i = 0; i < 4; ++i) {
          const std::int64_t key = j * 8 + lane % 4 * 2 + i % 2, row = at.first + warp * 16 + lane / 4 + i / 2 * 8;
          const bool hidden = key >= keys || (a.causal && k0 + key > past + row);
          s[j].v[i] = hidden ? -__builtin_inff() : s[j].v[i] * a.scale;
          high[i / 2] = math::maximum(high[i / 2], s[j].v[i]);
        }
      float fix[2];
      BAM_UNROLL
      for (int i = 0; i < 2; ++i) {
        high[i] = max_quad(high[i]);
        fix[i] = math::exp(top[i] - high[i]);
        top[i] = high[i];
        total[i] = total[i] * fix[i];
      }
      BAM_UNROLL
      for (int j = 0; j < flash_keys / 8; ++j)
        BAM_UNROLL
        for (int i = 0; i < 4; ++i) {
          s[j].v[i] = math::exp(s[j].v[i] - top[i / 2]);
          total[i / 2] = total[i / 2] + s[j].v[i];  // the lane's own columns; the four are added at the end
        }
      BAM_UNROLL
      for (int j = 0; j < D / 8; ++j)
        BAM_UNROLL
        for (int i = 0; i < 4; ++i) out[j].v[i] = out[j].v[i] * fix[i / 2];
      wait_copies<0>();
      sync();  // V is there, and all are done with K
      if (k0 + flash_keys < end) flash_load<D>(tk, k + (k0 + flash_keys) * a.k_row, a.k_row, end - k0 - flash_keys);
      commit_copies();
      BAM_UNROLL
      for (int t = 0; t < flash_keys / 16; ++t) {
        const FragmentA p{{pack(s[2 * t].v[0], s[2 * t].v[1]), pack(s[2 * t].v[2], s[2 * t].v[3]), pack(s[2 * t + 1].v[0], s[2 * t + 1].v[1]), pack(s[2 * t + 1].v[2], s[2 * t + 1].v[3])}};
        BAM_UNROLL
        for (int j = 0; j < D / 8; j += 2) {
          std::uint32_t both[4];  // matrices: keys t and t + 8 of columns j, then of the next eight
          load_matrices<true>(both, tv + flash_place<D>(t * 16 + matrix % 2 * 8 + r, j + matrix / 2));
          mma(out[j], p, {{both[0], both[1]}});
          mma(out[j + 1], p, {{both[2], both[3]}});
        }
      }
      wait_copies<0>();
      sync();  // the next K is there, and all are done with V
    }
    BAM_UNROLL
    for (int i = 0; i < 2; ++i) {
      const float sum = sum_quad(total[i]);
      const std::int64_t row = warp * 16 + lane / 4 + i * 8, token = g.q_begin + at.first + row;
      if (row >= n) continue;
      const float inverse = sum == 0.0f ? 0.0f : 1.0f / sum, f = a.gate ? inverse * a.gate[token * a.gate_row + h / a.heads_per_gate] : inverse;
      Bf16* to = static_cast<Bf16*>(a.out) + token * a.out_row + h * D;
      BAM_UNROLL
      for (int j = 0; j < D / 8; ++j)
        BAM_UNROLL
        for (int c = 0; c < 2; ++c) to[j * 8 + lane % 4 * 2 + c] = to_bf16(sum == 0.0f ? 0.0f : out[j].v[i * 2 + c] * f);
      if (a.lse && lane % 4 == 0) a.lse[h * a.rows + token] = top[i] + math::log(sum);
    }
  }
};

inline bool attention_mma_takes(const AttentionArgs& a) {
  const std::int64_t d = a.head_dim;
  return (d == 32 || d == 64 || d == 128) && aligned_lines(a.q, a.q_row, d) && aligned_lines(a.k, a.k_row, d) && aligned_lines(a.v, a.v_row, d);
}
template <int D>
void flash_forward(const Exec& exec, const AttentionArgs& a) {
  launch(exec, {query_tiles(a, flash_queries) * a.heads, flash_threads, FlashForwardKernel<D>::shared_bytes}, FlashForwardKernel<D>{a});
}
inline void attention_forward_mma(const Exec& exec, const AttentionArgs& a) {
  if (a.head_dim == 32) flash_forward<32>(exec, a);
  else if (a.head_dim == 64) flash_forward<64>(exec, a);
  else flash_forward<128>(exec, a);
}

}  // namespace bam::cuda
