// What a GPU reaches of the host's memory in the tests of rows, which are called with pointers into std::vectors and small tensors: C++'s free store, by pages of its own (free_store.cpp).
#pragma once
#include <cstddef>

namespace bam::test {

// From now on operator new takes its memory from pages that lend(begin, bytes) has made the GPU reach; false: it could not. Before any other thread runs.
void begin_free_store(bool (*lend)(void* begin, std::size_t bytes));
// Whether an address lies in such pages; null: there are none, and nothing is asked.
inline bool (*reachable)(const void* p) = nullptr;

}  // namespace bam::test
