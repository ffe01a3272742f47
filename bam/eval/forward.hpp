// One batch through a model, with every number that another program may want to compare: logits, losses and, on request,
// the gradient of each tensor. The same model code as training and evaluation; f of the balance loss is that of the batch.
#pragma once
#include <map>

#include "../train/step.hpp"

namespace bam {

struct ForwardResult {
  double loss = 0, nll = 0, load_balance = 0, z = 0;  // balance and z: sums over routers; loss = nll + coef * each
  Tensor logits;  // (rows, T, V)
};

// ids: rows of equal length T + 1; starts: per row the input positions at which a further document starts (its first token is no
// target). gradients: leave those of `loss` in the decoder's parameters.
inline ForwardResult forward_batch(Decoder& model, const std::vector<std::vector<std::int32_t>>& ids, const std::vector<std::vector<std::int64_t>>& starts, bool gradients) {
  check(!ids.empty() && ids[0].size() >= 2, "forward.ids", "forward: wanted at least one row of two ids");
  StepRows rows;
  rows.rows = static_cast<std::int64_t>(ids.size());
  rows.context = static_cast<std::int64_t>(ids[0].size()) - 1;
  for (std::size_t r = 0; r < ids.size(); ++r) {
    check(ids[r].size() == ids[0].size(), "forward.ids", "forward: row ", r, " has ", ids[r].size(), " ids, row 0 has ", ids[0].size());
    for (std::int32_t id : ids[r])
      check(id >= 0 && id < model.config().vocab_size, "forward.ids", "forward: row ", r, " has id ", id, ", the vocabulary ", model.config().vocab_size);
    std::vector<bool> start(ids[r].size(), false);
    if (r < starts.size())
      for (std::int64_t s : starts[r]) {
        check(s >= 0 && s < rows.context, "forward.docs", "forward: row ", r, ": document start ", s, " of ", rows.context, " inputs");
        start[static_cast<std::size_t>(s)] = true;
      }
    std::int32_t position = 0;
    for (std::size_t t = 0; t + 1 < ids[r].size(); ++t) {
      if (start[t]) position = 0;
      rows.inputs.push_back(ids[r][t]);
      rows.targets.push_back(t + 1 < static_cast<std::size_t>(rows.context) && start[t + 1] ? -1 : ids[r][t + 1]);
      rows.positions.push_back(position++);
      rows.real.push_back(1);
    }
  }
  ForwardResult result;
  StepOptions options;
  options.micro_batch = rows.rows;
  options.batch_balance = true;
  RouterCounts counts;
  StepResult step = accumulate_gradients(model, rows, options, 0, counts, &result.logits, gradients);
  result.loss = step.loss;
  result.nll = step.nll;
  result.load_balance = step.load_balance;
  result.z = step.z;
  result.logits = result.logits.reshape({rows.rows, rows.context, model.config().vocab_size});
  return result;
}

}  // namespace bam
