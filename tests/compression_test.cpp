// Bits per byte of a compressor.
#include "bam/eval/compression.hpp"

#include "bam/core/random.hpp"
#include "support.hpp"

namespace bam::compression_test {

using test::error_of;
using test::has;

TEST_CASE("zstd: the frame holds the texts joined by newlines") {
  std::vector<text::Document> documents;
  std::string joined;
  for (int i = 0; i < 300; ++i) {
    documents.push_back({str("Section ", i * 7 % 31, ". The agency may waive section ", i * 5 % 17, " of this title.")});
    joined += (i ? "\n" : "") + documents.back().text;
  }
  CompressionResult r = evaluate_zstd(documents);
  CHECK(r.documents == 300);
  CHECK(r.bytes == static_cast<std::int64_t>(joined.size()) - 299);
  std::string packed(ZSTD_compressBound(joined.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), joined.data(), joined.size(), 19));
  CHECK(r.compressed_bytes == static_cast<std::int64_t>(packed.size()));
  CHECK(io::decompress_zstd(packed, "packed") == joined);
  CHECK(r.bits_per_byte == doctest::Approx(8.0 * static_cast<double>(packed.size()) / static_cast<double>(r.bytes)));
  CHECK(r.bits_per_byte < evaluate_zstd(documents, 1).bits_per_byte);
}

TEST_CASE("zstd: noise does not compress, and nothing is no bytes") {
  std::string noise;
  Random random(1);
  for (int i = 0; i < 10000; ++i) noise += static_cast<char>(random.bits());
  CompressionResult r = evaluate_zstd({{noise}});
  CHECK(r.bits_per_byte > 8.0);
  CHECK(r.bits_per_byte < 8.02);
  CHECK(evaluate_zstd({}).bits_per_byte == 0.0);
  CHECK(has(error_of(ErrorKind::usage, [] { evaluate_zstd({}, 100); }), "zstd.level"));
}

}  // namespace bam::compression_test
