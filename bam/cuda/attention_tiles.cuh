// Which rows of which segment a block of an attention kernel owns; segments are read on the device.
#pragma once
#include "device.cuh"

namespace bam::cuda {

// The segment whose tile number `tile` is, counted through all segments; all threads of a block find the same. length(segment): its rows.
struct SegmentTile {
  Segment segment;
  std::int64_t first;  // row within the segment
  bool on;
};
template <class Length>
BAM_DEVICE SegmentTile segment_tile(const AttentionArgs& a, std::int64_t tile, int rows, Length length) {
  for (std::int64_t s = 0; s < a.segments; ++s) {
    const std::int64_t tiles = ceil_div(length(a.segment[s]), rows);
    if (tile < tiles) return {a.segment[s], tile * rows, true};
    tile -= tiles;
  }
  return {{}, 0, false};
}
BAM_DEVICE SegmentTile query_tile(const AttentionArgs& a, std::int64_t tile, int rows) {
  return segment_tile(a, tile, rows, [](const Segment& g) { return g.q_length; });
}
// Query heads of one KV head share a tile, so that its keys and values are read once for them: so many heads, one's queries after another's. A power of 2 of them, and at least 16 queries each, which a warp of the
// tensor-core kernels has: its rows are of one head.
struct HeadPack {
  int heads = 1, queries = 1;  // of a tile; the queries of each
  std::int64_t kv_heads = 1, group = 1, units = 0;  // units: tiles beside each other, each of other heads
  static HeadPack of(const AttentionArgs& a, int rows) {
    const std::int64_t sharing = a.heads % (a.group * a.kv_heads) == 0 ? a.heads / a.kv_heads : 1;
    HeadPack p{1, rows, a.kv_heads, a.group, a.heads};
    while (p.queries >= 32 && sharing % (2 * p.heads) == 0) {
      p.heads *= 2;
      p.queries /= 2;
      p.units /= 2;
    }
    return p;
  }
  // Number i of a unit's heads.
  BAM_INLINE std::int64_t head(std::int64_t unit, int i) const {
    if (heads == 1) return unit;
    const std::int64_t number = unit / kv_heads * heads + i;  // of those of the KV head
    return (number / group * kv_heads + unit % kv_heads) * group + number % group;
  }
};
// The block's number, counted from the end: under a causal mask the last queries see most keys, and their blocks are begun first.
BAM_DEVICE std::int64_t last_first() { return grid_blocks() - 1 - block(); }
// What segments hold is known on the device only: each may waste one tile.
inline std::int64_t query_tiles(const AttentionArgs& a, int rows) { return a.rows / rows + a.segments; }

}  // namespace bam::cuda
