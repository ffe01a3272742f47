// Byte-pair encoding of one pre-token: while some adjacent pair has a merge, apply the one of lowest rank, leftmost
// first (Sennrich et al., 2016, algorithm 1; ranks as in GPT-2).
//
// Two equal algorithms: a scan of O(n^2) for short words, where nothing beats it, and a heap of O(n log n) for long ones,
// so that a megabyte without a boundary stays linear up to the logarithm.
#pragma once
#include <algorithm>
#include <cstdint>
#include <queue>
#include <vector>

namespace bam::text {

// Open addressing from a pair of ids to its merge. Grows; keys are never removed.
class MergeTable {
 public:
  struct Entry {
    std::uint64_t key = empty;
    std::uint32_t rank = none;
    std::int32_t id = -1;
  };
  static constexpr std::uint32_t none = 0xffffffffu;

  void reserve(std::size_t n) {
    std::size_t size = 16;
    while (size < 2 * n) size *= 2;
    if (size > slots_.size()) rehash(size);
  }
  // A pair given twice keeps its last rank, as in the reference.
  void set(std::int32_t left, std::int32_t right, std::uint32_t rank, std::int32_t id) {
    if (2 * (count_ + 1) > slots_.size()) rehash(std::max<std::size_t>(16, 2 * slots_.size()));
    Entry& e = slots_[locate(pack(left, right))];
    if (e.key == empty) ++count_;
    e = {pack(left, right), rank, id};
  }
  // Null when the pair has no merge.
  const Entry* find(std::int32_t left, std::int32_t right) const {
    if (slots_.empty()) return nullptr;
    const Entry& e = slots_[locate(pack(left, right))];
    return e.key == empty ? nullptr : &e;
  }
  std::size_t size() const { return count_; }

 private:
  static constexpr std::uint64_t empty = ~std::uint64_t{0};  // ids are not negative, so no pair is this
  static std::uint64_t pack(std::int32_t left, std::int32_t right) {
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
  }
  std::size_t locate(std::uint64_t key) const {
    std::uint64_t h = key * 0x9e3779b97f4a7c15ull;
    h ^= h >> 32;
    std::size_t i = static_cast<std::size_t>(h) & (slots_.size() - 1);
    while (slots_[i].key != empty && slots_[i].key != key) i = (i + 1) & (slots_.size() - 1);
    return i;
  }
  void rehash(std::size_t size) {
    std::vector<Entry> old(size);
    old.swap(slots_);
    for (const Entry& e : old)
      if (e.key != empty) slots_[locate(e.key)] = e;
  }
  std::vector<Entry> slots_;
  std::size_t count_ = 0;
};

namespace detail {

// ids[0, n) in place; returns the new length. ranks is scratch of at least n entries.
inline std::size_t merge_short(const MergeTable& table, std::int32_t* ids, std::size_t n, const MergeTable::Entry** found) {
  for (std::size_t i = 0; i + 1 < n; ++i) found[i] = table.find(ids[i], ids[i + 1]);
  while (n > 1) {
    std::uint32_t best = MergeTable::none;
    std::size_t at = 0;
    for (std::size_t i = 0; i + 1 < n; ++i)
      if (found[i] && found[i]->rank < best) {
        best = found[i]->rank;
        at = i;
      }
    if (best == MergeTable::none) break;
    ids[at] = found[at]->id;
    for (std::size_t i = at + 1; i + 1 < n; ++i) {
      ids[i] = ids[i + 1];
      found[i] = found[i + 1];  // the last of these is never read
    }
    --n;
    if (at > 0) found[at - 1] = table.find(ids[at - 1], ids[at]);
    if (at + 1 < n) found[at] = table.find(ids[at], ids[at + 1]);
  }
  return n;
}

inline void merge_long(const MergeTable& table, std::vector<std::int32_t>& ids) {
  const auto n = static_cast<std::uint32_t>(ids.size());
  constexpr std::uint32_t end = 0xffffffffu;
  struct Symbol {
    std::uint32_t prev, next, rank;  // rank of the pair that starts here, as last pushed
    std::int32_t id, merged;
  };
  std::vector<Symbol> symbols(n);
  std::vector<std::uint64_t> heap;  // rank in the high half, position in the low half
  auto later = std::greater<>();
  auto look = [&](std::uint32_t i) {
    Symbol& s = symbols[i];
    s.rank = MergeTable::none;
    if (s.next == end) return false;
    const auto* e = table.find(s.id, symbols[s.next].id);
    if (!e) return false;
    s.rank = e->rank;
    s.merged = e->id;
    heap.push_back(std::uint64_t{s.rank} << 32 | i);
    return true;
  };
  for (std::uint32_t i = 0; i < n; ++i) symbols[i] = {i - 1, i + 1 < n ? i + 1 : end, MergeTable::none, ids[i], -1};
  for (std::uint32_t i = 0; i < n; ++i) look(i);
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const std::uint64_t top = heap.back();
    heap.pop_back();
    const auto at = static_cast<std::uint32_t>(top & 0xffffffffu);
    Symbol& s = symbols[at];
    // Stale when the pair has changed since; a rank belongs to one pair only.
    if (s.rank != static_cast<std::uint32_t>(top >> 32)) continue;
    Symbol& gone = symbols[s.next];
    s.id = s.merged;
    gone.rank = MergeTable::none;
    gone.id = -1;
    s.next = gone.next;
    if (s.next != end) symbols[s.next].prev = at;
    if (look(at)) std::push_heap(heap.begin(), heap.end(), later);
    if (at != 0 && look(s.prev)) std::push_heap(heap.begin(), heap.end(), later);
  }
  std::size_t out = 0;
  for (std::uint32_t i = 0; i != end; i = symbols[i].next) ids[out++] = symbols[i].id;
  ids.resize(out);
}

}  // namespace detail

// Applies the merges to ids in place.
inline void apply_merges(const MergeTable& table, std::vector<std::int32_t>& ids) {
  constexpr std::size_t short_limit = 64;
  if (ids.size() <= short_limit) {
    const MergeTable::Entry* found[short_limit];
    ids.resize(detail::merge_short(table, ids.data(), ids.size(), found));
  } else {
    // Positions are 32 bits wide; a caller that has more than that in one word has no word.
    detail::merge_long(table, ids);
  }
}

}  // namespace bam::text
