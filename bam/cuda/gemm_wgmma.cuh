// C (M, N) = or += op(A) (M, K) op(B) (K, N) in bf16 with float sums, by wgmma and TMA (sm_90a). A block owns 128 x 128 of C and has three warpgroups: one thread of the first starts the copies of 64 of K for
// both operands into four stages of shared memory; the others, 64 rows of C each, multiply what has come. A stage is handed over by two barriers: full (its bytes have come) and empty (each warp of the consumers is done
// with it). Shared memory is swizzled as the accelerator writes and wgmma reads it, so nothing moves in between. Not run on hardware yet: BAM_CUDA_PATH=wgmma asks for it.
#pragma once
#include <type_traits>

#include "device_hopper.cuh"
#include "gemm_mma.cuh"

namespace bam::cuda {

inline constexpr int wgmma_tile = 128, wgmma_depth = 64, wgmma_stages = 4, wgmma_threads = 3 * warpgroup_threads;
inline constexpr int wgmma_operand_bytes = wgmma_tile * wgmma_depth * 2, wgmma_atom_bytes = 64 * wgmma_depth * 2;
inline constexpr std::int64_t wgmma_shared_bytes = std::int64_t{1024} + wgmma_stages * 2 * wgmma_operand_bytes + 1024;  // barriers, and what aligns the stages to 1024

// Where the 16 of K from k, of the 64 rows that begin at `row`, lie in the tile of an operand at `tile`.
template <bool lines_are_k>
BAM_INLINE constexpr std::uint64_t wgmma_operand(std::uint32_t tile, int row, int k) {
  return matrix_descriptor<lines_are_k, wgmma_depth>(tile + static_cast<std::uint32_t>(lines_are_k ? row / 64 * wgmma_atom_bytes + k * 128 : row * 128 + k * 2));
}

struct WgmmaStages {
  Barrier full[wgmma_stages], empty[wgmma_stages];
};
// The same for all threads of a block: where its stages begin, in shared memory's own addresses, the next multiple of 1024. `fills`: arrivals that fill a stage.
BAM_DEVICE std::uint32_t wgmma_begin(WgmmaStages* stages, int fills) {
  if (thread() == 0) {
    for (int s = 0; s < wgmma_stages; ++s) {
      init_barrier(&stages->full[s], fills);
      init_barrier(&stages->empty[s], 2 * warpgroup_threads / warp_lanes);
    }
    fence_barriers();
  }
  sync();
  return (shared_address(stages) + static_cast<std::uint32_t>(sizeof(WgmmaStages)) + 1023) / 1024 * 1024;
}
// Until the consumers are done with what the stage of step number `step` of the block held before.
BAM_DEVICE void wgmma_wait_empty(WgmmaStages* stages, std::int64_t step) {
  wait_barrier(&stages->empty[step % wgmma_stages], static_cast<unsigned>(step / wgmma_stages + 1) & 1u);  // the first round finds them empty
}
// Starts TMA's copies of one stage of an operand: a line is a row, 128 of them; or a line is of k, and two atoms of 64 rows lie one behind the other.
template <bool lines_are_k>
BAM_DEVICE void wgmma_load(unsigned char* to, const TensorMap& map, std::int64_t row, std::int64_t k, Barrier* full) {
  if constexpr (lines_are_k) {
    copy_tile(to, map, k, row, full);
    copy_tile(to + wgmma_atom_bytes, map, k, row + 64, full);
  } else {
    copy_tile(to, map, row, k, full);
  }
}
// By a consumer, number 0 or 1: d, thread t's part of its 64 rows, += the products of `steps` steps, the first being number `first` of the block's. A stage is handed back in the step after its own, the last one with the next tile.
template <bool a_lines_are_k, bool b_lines_are_k>
BAM_DEVICE void wgmma_consume(float (&d)[64], WgmmaStages* stages, std::uint32_t begin, int consumer, std::int64_t first, std::int64_t steps) {
  for (std::int64_t step = first; step < first + steps; ++step) {
    const int s = static_cast<int>(step % wgmma_stages);
    wait_barrier(&stages->full[s], static_cast<unsigned>(step / wgmma_stages) & 1u);
    const std::uint32_t ta = begin + static_cast<std::uint32_t>(s * 2 * wgmma_operand_bytes), tb = ta + wgmma_operand_bytes;
    hold(d);
    fence_products();
    BAM_UNROLL
    for (int k = 0; k < wgmma_depth; k += 16) multiply<a_lines_are_k, b_lines_are_k>(d, wgmma_operand<a_lines_are_k>(ta, consumer * 64, k), wgmma_operand<b_lines_are_k>(tb, 0, k));
    commit_products();
    hold(d);
    wait_products<1>();  // those of the step before are done, and so is its stage
    if (thread() % warp_lanes == 0 && step > 0) arrive(&stages->empty[(step - 1) % wgmma_stages]);
  }
  wait_products<0>();
  hold(d);
}
// Its part of the tile of C that begins at (row0, column0).
template <class Store>
BAM_DEVICE void wgmma_store(const float (&d)[64], const Store& store, std::int64_t row0, std::int64_t column0, int consumer) {
  FragmentC sums[16];
  BAM_UNROLL
  for (int i = 0; i < 64; ++i) sums[i / 4].v[i % 4] = d[i];
  store(sums, row0 + consumer * 64 + thread() % warpgroup_threads / warp_lanes * 16, column0);
}

struct WgmmaProduct {
  TensorMap a, b;
  std::int64_t K;
};
template <bool a_lines_are_k, bool b_lines_are_k, class Store>
struct WgmmaGemmKernel {
  WgmmaProduct products[2];
  Store stores[2];
  PairTiles tiles;
  std::int64_t more_K;  // of the second product, where the first's C is the sum of both; else 0

  static constexpr int most_threads = wgmma_threads, resident_blocks = 1;
  static constexpr std::int64_t shared_bytes = wgmma_shared_bytes;
  BAM_DEVICE void operator()() const {
    WgmmaStages* const stages = shared<WgmmaStages>();
    const std::uint32_t begin = wgmma_begin(stages, 1);
    const PairTiles::Tile t = tiles.at(block(), wgmma_tile);
    const WgmmaProduct& p = products[t.product];
    const std::int64_t first_steps = ceil_div(p.K, wgmma_depth), steps = first_steps + ceil_div(more_K, wgmma_depth);
    if (thread() < warpgroup_threads) {
      give_registers<40>();
      if (thread() == 0)
        for (std::int64_t step = 0; step < steps; ++step) {
          unsigned char* const to = shared<unsigned char>() + (begin - shared_address(stages)) + step % wgmma_stages * 2 * wgmma_operand_bytes;
          Barrier* const full = &stages->full[step % wgmma_stages];
          wgmma_wait_empty(stages, step);
          arrive_expecting(full, 2 * wgmma_operand_bytes);
          const bool more = step >= first_steps;
          const WgmmaProduct& from = more ? products[1] : p;
          const std::int64_t k = (more ? step - first_steps : step) * wgmma_depth;
          wgmma_load<a_lines_are_k>(to, from.a, t.row, k, full);
          wgmma_load<b_lines_are_k>(to + wgmma_operand_bytes, from.b, t.column, k, full);
        }
    } else {
      take_registers<232>();
      const int consumer = thread() / warpgroup_threads - 1;
      float d[64] = {};
      wgmma_consume<a_lines_are_k, b_lines_are_k>(d, stages, begin, consumer, 0, steps);
      wgmma_store(d, stores[t.product], t.row, t.column, consumer);
    }
  }
};

inline bool wgmma_takes(const GemmArgs& s) {
  return s.batch == 1 && s.M > 0 && s.N > 0 && s.K > 0 && aligned_lines(s.A, s.lda, 8) && aligned_lines(s.B, s.ldb, 8);
}

// As gemm_mma.
template <class Out>
void gemm_wgmma(const Exec& exec, const GemmArgs& s, const GemmArgs* second = nullptr) {
  const PairTiles tiles = PairTiles::of(s, second, wgmma_tile);
  const Grid grid{tiles.all, wgmma_threads};
  auto map = [](const void* p, std::int64_t ld, bool lines_are_k, std::int64_t rows, std::int64_t K) { return lines_are_k ? tensor_map(p, K, rows, ld, wgmma_depth) : tensor_map(p, rows, K, ld, wgmma_tile); };
  with_operands<Out>(s, [&]<class Store>(auto a_k, auto b_k, const Store& store) {
    constexpr bool a = decltype(a_k)::value, b = decltype(b_k)::value;
    auto product = [&](const GemmArgs& g) { return WgmmaProduct{map(g.A, g.lda, a, g.M, g.K), map(g.B, g.ldb, b, g.N, g.K), g.K}; };
    const WgmmaProduct one = product(s);
    launch(exec, grid, WgmmaGemmKernel<a, b, Store>{{one, second ? product(*second) : one}, {store, second ? store_beside(store, *second) : store}, tiles, second && second->C == s.C ? second->K : 0});
  });
}

}  // namespace bam::cuda
