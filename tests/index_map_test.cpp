// The index maps that CUDA kernels call, on the host: each element has one place, banks do not conflict, each tile is scheduled once whatever the sizes of groups and segments.
#include <doctest/doctest.h>

#include <array>
#include <map>
#include <set>
#include <vector>

#include "bam/core/random.hpp"
#include "bam/cuda/attention_tiles.cuh"
#include "bam/cuda/attention_wgmma.cuh"
#include "bam/cuda/grouped_gemm_wgmma.cuh"

namespace bam::cuda {
namespace {

// Eight lanes that move 16 bytes each meet in no bank when they lie in eight different groups of four.
bool spread(const std::vector<int>& bytes) {
  std::set<int> groups;
  for (int b : bytes) groups.insert(b / 16 % 8);
  return groups.size() == bytes.size();
}

template <bool lines_are_k>
void check_mma_place() {
  const int lines = lines_are_k ? mma_depth : mma_tile, chunks = (lines_are_k ? mma_tile : mma_depth) / 8;
  std::set<int> places;
  for (int line = 0; line < lines; ++line)
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const int at = mma_place<lines_are_k>(line, chunk);
      CHECK(at % 16 == 0);
      CHECK(at >= 0);
      CHECK(at < mma_operand_bytes);
      places.insert(at);
    }
  CHECK(static_cast<int>(places.size()) == lines * chunks);
  for (int n = 0; n < lines * chunks; n += 8) {  // eight threads that copy
    std::vector<int> bytes;
    for (int i = n; i < n + 8; ++i) bytes.push_back(mma_place<lines_are_k>(i / chunks, i % chunks));
    CHECK(spread(bytes));
  }
  for (int line = 0; line < lines; line += 8)  // the eight rows of a matrix of ldmatrix
    for (int chunk = 0; chunk < chunks; ++chunk) {
      std::vector<int> bytes;
      for (int r = 0; r < 8; ++r) bytes.push_back(mma_place<lines_are_k>(line + r, chunk));
      CHECK(spread(bytes));
    }
}

// Where the accelerator puts element (row, k) of an operand's tile, box by box, and where wgmma looks for it through each descriptor that covers it.
template <bool lines_are_k>
void check_wgmma_place() {
  const std::uint32_t tile = 3 * 1024;
  std::map<std::uint32_t, int> written;
  std::size_t read = 0;
  for (int row = 0; row < wgmma_tile; ++row)
    for (int k = 0; k < wgmma_depth; ++k) {
      const std::uint32_t box = tile + static_cast<std::uint32_t>(lines_are_k ? row / 64 * wgmma_atom_bytes : 0);
      const auto line = static_cast<std::uint32_t>(lines_are_k ? k : row), within = static_cast<std::uint32_t>(lines_are_k ? row % 64 : k);
      const std::uint32_t at = box + line * 128 + ((within / 8) ^ (line % 8)) * 16 + within % 8 * 2;  // PTX ISA, 128B swizzle of a box whose lines are 128 bytes
      written[at] = row * wgmma_depth + k;
    }
  CHECK(written.size() == static_cast<std::size_t>(wgmma_tile * wgmma_depth));
  CHECK(written.begin()->first == tile);
  CHECK(written.rbegin()->first == tile + wgmma_operand_bytes - 2);
  for (int begin = 0; begin < wgmma_tile; begin += 64)
    for (int k0 = 0; k0 < wgmma_depth; k0 += 16)
      for (int row = 0; row < 64; ++row)
        for (int k = 0; k < 16; ++k) {
          auto it = written.find(operand_address(wgmma_operand<lines_are_k>(tile, begin, k0), lines_are_k, row, k));
          REQUIRE(it != written.end());
          CHECK(it->second == (begin + row) * wgmma_depth + k0 + k);
          ++read;
        }
  for (int row = 0; row < wgmma_tile; ++row)  // an operand of 128 rows through one descriptor
    CHECK(written.at(operand_address(wgmma_operand<lines_are_k>(tile, 0, 16), lines_are_k, row, 5)) == row * wgmma_depth + 21);
  CHECK(read == written.size());
  for (const auto& [at, element] : written)  // and where threads put a chunk
    if (const int row = element / wgmma_depth, k = element % wgmma_depth; (lines_are_k ? row : k) % 8 == 0)
      CHECK(at == tile + static_cast<std::uint32_t>(lines_are_k ? wgmma_place<true>(k, row / 8) : wgmma_place<false>(row, k / 8)));
}

// Attention's tiles: rows of 64 columns each, two such boxes.
template <int rows>
void check_flash_place() {
  const std::uint32_t tile = 5 * 1024;
  std::map<std::uint32_t, int> written;
  for (int row = 0; row < rows; ++row)
    for (int column = 0; column < flash_head; ++column)
      written[tile + static_cast<std::uint32_t>(column / 64 * rows * 128 + row * 128 + (column % 64 / 8 ^ row % 8) * 16 + column % 8 * 2)] = row * flash_head + column;
  CHECK(written.size() == static_cast<std::size_t>(flash_bytes<rows> / 2));
  CHECK(written.rbegin()->first == tile + flash_bytes<rows> - 2);
  for (int row = 0; row < rows; ++row)
    for (int column = 0; column < flash_head; ++column) {
      const int wanted = row * flash_head + column;
      CHECK(written.at(operand_address(flash_along_columns<rows>(tile, row / 64 * 64, column / 16 * 16), false, row % 64, column % 16)) == wanted);  // a warpgroup's rows
      CHECK(written.at(operand_address(flash_along_columns<rows>(tile, 0, column / 16 * 16), false, row, column % 16)) == wanted);                   // all rows
      CHECK(written.at(operand_address(flash_along_rows<rows>(tile, row / 16 * 16), true, column, row % 16)) == wanted);                             // all columns
    }
}

}  // namespace

TEST_CASE("index maps: the stages of the mma GEMM, a place for each chunk and no bank twice") {
  check_mma_place<false>();
  check_mma_place<true>();
}

TEST_CASE("index maps: a tile of gates and ups has each column once as either, and a warp both of its columns in fragments two apart") {
  std::set<std::pair<int, int>> seen;
  for (int line = 0; line < mma_tile; ++line) {
    CHECK(gated_column(line) >= 0);
    CHECK(gated_column(line) < mma_tile / 2);
    seen.insert({gated_half(line), gated_column(line)});
  }
  CHECK(static_cast<int>(seen.size()) == mma_tile);
  for (int warp = 0; warp < mma_tile; warp += 32)
    for (int n = 0; n < 16; ++n) {
      CHECK(gated_half(warp + n) == 0);
      CHECK(gated_half(warp + 16 + n) == 1);
      CHECK(gated_column(warp + n) == gated_column(warp) + n);
      CHECK(gated_column(warp + 16 + n) == gated_column(warp) + n);
    }
}

TEST_CASE("index maps: what TMA writes, wgmma finds through its descriptors, each element once") {
  check_wgmma_place<false>();
  check_wgmma_place<true>();
  check_flash_place<128>();
  check_flash_place<64>();
  for (std::uint32_t a = 0; a < 4096; ++a) CHECK(swizzle_128(swizzle_128(a)) == a);
}

TEST_CASE("index maps: tiles of grouped products are scheduled once each, for any sizes of the groups") {
  Random random(9);
  for (int trial = 0; trial < 60; ++trial) {
    const bool weights = trial % 2 == 1;
    std::vector<std::int64_t> offsets{0};
    const auto experts = static_cast<std::int64_t>(1 + random.below(7));
    for (std::int64_t e = 0; e < experts; ++e) offsets.push_back(offsets.back() + (random.below(3) == 0 ? 0 : static_cast<std::int64_t>(random.below(trial < 30 ? 40 : 700))));
    GroupedGemmArgs s;
    s.weights = weights;
    s.experts = experts;
    s.M = static_cast<std::int64_t>(1 + random.below(300));
    s.N = static_cast<std::int64_t>(1 + random.below(300));
    s.offsets = offsets.data();
    for (int size : {64, mma_tile})
      for (std::int64_t blocks : {1, 3, 132, 264}) {
        std::map<std::vector<std::int64_t>, int> seen;
        for (std::int64_t block = 0; block < blocks; ++block) {
          std::int64_t from = 0, before = 0;
          for (std::int64_t tile = block;; tile += blocks) {
            const GroupedTile t = grouped_tile(s, tile, size, from, before);
            if (!t.on) break;
            CHECK(t.begin == offsets[static_cast<std::size_t>(t.expert)]);
            CHECK(t.rows == offsets[static_cast<std::size_t>(t.expert) + 1] - t.begin);
            ++seen[{t.expert, t.row, t.column}];
          }
        }
        std::size_t wanted = 0;
        for (std::int64_t e = 0; e < experts; ++e)
          for (std::int64_t row = 0; row < (weights ? s.M : offsets[static_cast<std::size_t>(e) + 1] - offsets[static_cast<std::size_t>(e)]); row += size)
            for (std::int64_t column = 0; column < s.N; column += size, ++wanted) CHECK(seen[{e, row, column}] == 1);
        CHECK(seen.size() == wanted);
      }
  }
}

TEST_CASE("index maps: the tiles of one product, of two apart, and of a sum of two are scheduled once each") {
  float here = 0, there = 0;
  for (const std::int64_t rows : {1, 128, 300})
    for (const std::int64_t columns : {1, 129, 256}) {
      GemmArgs one, two;
      one.M = rows, one.N = columns, one.C = &here;
      two.M = columns, two.N = rows;
      for (void* C : {static_cast<void*>(nullptr), static_cast<void*>(&here), static_cast<void*>(&there)}) {
        two.C = C;
        const PairTiles tiles = PairTiles::of(one, C ? &two : nullptr, 128);
        std::map<std::array<std::int64_t, 3>, int> seen;
        for (std::int64_t i = 0; i < tiles.all; ++i) {
          const PairTiles::Tile t = tiles.at(i, 128);
          ++seen[{t.product, t.row, t.column}];
        }
        std::size_t wanted = 0;
        for (std::int64_t product = 0; product < (C == &there ? 2 : 1); ++product)
          for (std::int64_t row = 0; row < (product ? two : one).M; row += 128)
            for (std::int64_t column = 0; column < (product ? two : one).N; column += 128, ++wanted) CHECK(seen[{product, row, column}] == 1);
        CHECK(seen.size() == wanted);
      }
    }
}

TEST_CASE("index maps: each query belongs to one tile, and no more tiles are asked for than are launched") {
  Random random(10);
  for (int trial = 0; trial < 40; ++trial) {
    std::vector<Segment> segments;
    AttentionArgs a;
    for (std::uint64_t i = 0, n = random.below(9); i < n; ++i) {
      const auto length = static_cast<std::int64_t>(random.below(4) == 0 ? 0 : random.below(300));
      segments.push_back({a.rows, length, a.rows, length});
      a.rows += length;
    }
    a.segments = static_cast<std::int64_t>(segments.size());
    a.segment = segments.data();
    for (int rows : {16, 64, 128}) {
      std::vector<int> seen(static_cast<std::size_t>(a.rows));
      for (std::int64_t tile = 0; tile < query_tiles(a, rows); ++tile) {
        const SegmentTile t = query_tile(a, tile, rows);
        for (std::int64_t i = t.first; t.on && i < smaller(t.first + rows, t.segment.q_length); ++i) ++seen[static_cast<std::size_t>(t.segment.q_begin + i)];
      }
      CHECK(seen == std::vector<int>(seen.size(), 1));
    }
  }
}

TEST_CASE("index maps: heads that share their keys share tiles, and each query of each head has one row") {
  for (std::int64_t experts : {1, 2, 3, 4, 6, 8, 16})
    for (std::int64_t kv_heads : {1, 3})
      for (std::int64_t group : {1, 2, 3})
        for (int rows : {64, 128}) {
          AttentionArgs a;
          a.heads = experts * kv_heads * group, a.kv_heads = kv_heads, a.group = group;
          const HeadPack pack = HeadPack::of(a, rows);
          CAPTURE(experts * group);
          CHECK(pack.heads * pack.queries == rows);
          CHECK(pack.queries >= 16);
          CHECK(pack.heads * pack.units == a.heads);
          CHECK((pack.heads == rows / 16 || experts * group % (2 * pack.heads) != 0));  // as many as go
          std::set<std::int64_t> heads;
          for (std::int64_t unit = 0; unit < pack.units; ++unit)
            for (int i = 0; i < pack.heads; ++i) {
              const std::int64_t h = pack.head(unit, i);
              CHECK(h >= 0);
              CHECK(h < a.heads);
              CHECK(h / group % kv_heads == pack.head(unit, 0) / group % kv_heads);
              heads.insert(h);
            }
          CHECK(std::ssize(heads) == a.heads);
        }
  AttentionArgs odd;  // a KV head has two query heads, the other one
  odd.heads = 3, odd.kv_heads = 2;
  CHECK(HeadPack::of(odd, 64).heads == 1);
}

}  // namespace bam::cuda
