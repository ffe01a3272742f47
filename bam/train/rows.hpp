// The rows of one optimizer step: what the data side makes and the step consumes.
#pragma once
#include <cstdint>
#include <vector>

namespace bam {

// (rows, context) each, row-major.
struct StepRows {
  std::int64_t rows = 0, context = 0;
  std::vector<std::int32_t> inputs, targets, positions;  // target < 0: not trained; position 0 starts a sequence
  std::vector<std::uint8_t> real;                        // 0 for pads
  // Of fine-tuning examples alone; else empty and 0.
  std::vector<float> weights;  // 1 / trained tokens of its example, where the target is trained
  std::int64_t examples = 0;
};

}  // namespace bam
