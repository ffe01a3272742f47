// The product of each expert over its own rows in bf16 with float sums, by wgmma (sm_90a): the tiles and stages of gemm_wgmma.cuh, one block a multiprocessor, which walks over the tiles of all experts, so that
// the stages of a tile are filled while the one before is multiplied and stored. What is chosen by an index, or ends with an expert's rows, is copied by the first warpgroup, 16 bytes a thread, with zeros beyond the
// end; the weights of an expert come by TMA. Not run on hardware yet: BAM_CUDA_PATH=wgmma asks for it.
#pragma once
#include "gemm_wgmma.cuh"

namespace bam::cuda {

// Where chunk `chunk` of line `line` of an operand's stage lies: as TMA writes it.
template <bool lines_are_k>
BAM_INLINE constexpr int wgmma_place(int line, int chunk) {
  return static_cast<int>(swizzle_128(static_cast<std::uint32_t>(lines_are_k ? chunk / 8 * wgmma_atom_bytes + line * 128 + chunk % 8 * 16 : line * 128 + chunk * 16)));
}

// weights: of GroupedGemmArgs, and then both operands are of rows and their lines are k; else only A is, and its lines are rows.
template <bool weights, bool b_lines_are_k, class Store>
struct WgmmaGroupedKernel {
  GroupedGemmArgs s;
  TensorMap b;                 // of all experts' weights, one behind the other
  std::int64_t expert_lines;   // of an expert in it
  Store store;

  static constexpr int most_threads = wgmma_threads, resident_blocks = 1, lag = 2;  // lag: steps between the start of a thread's copies and its wait for them. With three the producers would wait for consumers who wait for them.
  static constexpr std::int64_t shared_bytes = wgmma_shared_bytes;
  static_assert(lag <= wgmma_stages - 2);

  BAM_DEVICE std::int64_t steps_of(const GroupedTile& t) const { return ceil_div(weights ? t.rows : s.K, wgmma_depth); }

  BAM_DEVICE void produce(WgmmaStages* stages, unsigned char* space) const {
    auto landed = [&](std::int64_t step) {
      fence_copies();
      arrive(&stages->full[step % wgmma_stages]);
    };
    std::int64_t from = 0, before = 0, step = 0;
    for (std::int64_t tile = block();; tile += grid_blocks()) {
      const GroupedTile t = grouped_tile(s, tile, wgmma_tile, from, before);
      if (!t.on) break;
      // Without an index, lines are counted from the expert's first row.
      const MmaOperand rows{static_cast<const Bf16*>(s.A) + (s.a_index ? 0 : t.begin * s.lda), s.lda, weights ? s.M : t.rows, s.a_index ? s.a_index + t.begin : nullptr};
      for (std::int64_t k = 0, end = steps_of(t) * wgmma_depth; k < end; k += wgmma_depth, ++step) {
        unsigned char* const to = space + step % wgmma_stages * 2 * wgmma_operand_bytes;
        wgmma_wait_empty(stages, step);
        copy_lines<weights, wgmma_depth, warpgroup_threads, wgmma_place<weights>>(to, rows, t.row, k, weights ? t.rows : s.K);
        if constexpr (weights) {
          const MmaOperand columns{static_cast<const Bf16*>(s.B) + (s.b_index ? 0 : t.begin * s.ldb), s.ldb, s.N, s.b_index ? s.b_index + t.begin : nullptr};
          copy_lines<true, wgmma_depth, warpgroup_threads, wgmma_place<true>>(to + wgmma_operand_bytes, columns, t.column, k, t.rows);
        } else if (thread() == 0) {
          Barrier* const full = &stages->full[step % wgmma_stages];
          arrive_expecting(full, wgmma_operand_bytes);
          const std::int64_t line = t.expert * expert_lines, column = grouped_column<Store>(t);
          if constexpr (Store::gated) {  // 64 lines of gates and those of their ups; what is beyond the last is multiplied and not stored
            copy_tile(to + wgmma_operand_bytes, b, line + column, k, full);
            copy_tile(to + wgmma_operand_bytes + wgmma_atom_bytes, b, line + s.N / 2 + column, k, full);
          } else {
            wgmma_load<b_lines_are_k>(to + wgmma_operand_bytes, b, b_lines_are_k ? column : line + column, b_lines_are_k ? line + k : k, full);
          }
        }
        commit_copies();
        if (step >= lag) {
          wait_copies<lag>();
          landed(step - lag);
        }
      }
    }
    wait_copies<0>();
    for (std::int64_t n = step > lag ? step - lag : 0; n < step; ++n) landed(n);
  }
  BAM_DEVICE void consume(WgmmaStages* stages, std::uint32_t begin) const {
    const int consumer = thread() / warpgroup_threads - 1;
    std::int64_t from = 0, before = 0, first = 0;
    for (std::int64_t tile = block();; tile += grid_blocks()) {
      const GroupedTile t = grouped_tile(s, tile, wgmma_tile, from, before);
      if (!t.on) break;
      const std::int64_t steps = steps_of(t);
      float d[64] = {};
      wgmma_consume<weights, b_lines_are_k>(d, stages, begin, consumer, first, steps);
      wgmma_store(d, grouped_store<weights>(store, s, t), t.row, grouped_column<Store>(t), consumer);
      first += steps;
    }
  }
  BAM_DEVICE void operator()() const {
    WgmmaStages* const stages = shared<WgmmaStages>();
    const std::uint32_t begin = wgmma_begin(stages, warpgroup_threads + (weights ? 0 : 1));
    if (thread() < warpgroup_threads) {
      give_registers<104>();
      produce(stages, shared<unsigned char>() + (begin - shared_address(stages)));
    } else {
      take_registers<200>();
      consume(stages, begin);
    }
  }
};

// Of what grouped_mma_takes(): weights that one map describes, in which, where lines are k, no stage reaches into the next expert's.
inline bool grouped_wgmma_takes(const GroupedGemmArgs& s) {
  return s.weights || (s.K > 0 && s.expert_stride % s.ldb == 0 && (s.transpose_b || s.K % wgmma_depth == 0));
}
// A and B of s are bf16; C is Out.
template <class Out>
void grouped_gemm_wgmma(const Exec& exec, const GroupedGemmArgs& s) {
  with_grouped<Out>(exec, s, wgmma_tile, [&](auto weights, auto b_k, auto store) {
    using Store = decltype(store);
    const std::int64_t lines = weights ? 0 : s.expert_stride / s.ldb, all = (s.experts - 1) * lines;
    TensorMap b{};
    if (!weights) b = b_k ? tensor_map(s.B, all + s.K, s.N, s.ldb, wgmma_depth) : tensor_map(s.B, all + s.N, s.K, s.ldb, Store::gated ? wgmma_tile / 2 : wgmma_tile);
    launch(exec, {multiprocessors(), wgmma_threads}, WgmmaGroupedKernel<decltype(weights)::value, decltype(b_k)::value, Store>{s, b, lines, store});
  });
}

}  // namespace bam::cuda
