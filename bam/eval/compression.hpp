// What a general compressor pays for a text: bits per byte beside those of a model. It has seen no text before this one.
#pragma once
#include <zstd.h>

#include <cstdint>
#include <string>
#include <vector>

#include "../core/error.hpp"
#include "../text/corpus.hpp"

namespace bam {

struct CompressionResult {
  std::int64_t documents = 0, bytes = 0, compressed_bytes = 0;
  double bits_per_byte = 0;  // 8 * compressed / bytes
};

// The texts in their order, joined by newlines, as one zstd frame with the window that the level gives. bytes counts the texts alone, as
// for a model: the newlines are what EOS is there.
inline CompressionResult evaluate_zstd(const std::vector<text::Document>& documents, int level = 19) {
  check(level >= 1 && level <= ZSTD_maxCLevel(), "zstd.level", "zstd: wanted a level from 1 to ", ZSTD_maxCLevel(), ", got ", level);
  CompressionResult r;
  std::string joined;
  for (const text::Document& d : documents) {
    if (r.documents++ > 0) joined += '\n';
    joined += d.text;
    r.bytes += static_cast<std::int64_t>(d.text.size());
  }
  std::string packed(ZSTD_compressBound(joined.size()), '\0');
  const std::size_t n = ZSTD_compress(packed.data(), packed.size(), joined.data(), joined.size(), level);
  if (ZSTD_isError(n)) fail(ErrorKind::limit, "zstd.compress", "zstd: ", joined.size(), " bytes: ", ZSTD_getErrorName(n));
  r.compressed_bytes = static_cast<std::int64_t>(n);
  if (r.bytes > 0) r.bits_per_byte = 8 * static_cast<double>(n) / static_cast<double>(r.bytes);
  return r;
}

}  // namespace bam
