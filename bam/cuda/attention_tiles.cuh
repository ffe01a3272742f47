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
// The block's number, counted from the end: under a causal mask the last queries see most keys, and their blocks are begun first.
BAM_DEVICE std::int64_t last_first() { return grid_blocks() - 1 - block(); }
// What segments hold is known on the device only: each may waste one tile.
inline std::int64_t query_tiles(const AttentionArgs& a, int rows) { return a.rows / rows + a.segments; }

}  // namespace bam::cuda
