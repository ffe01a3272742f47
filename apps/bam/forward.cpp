// bam forward: logits, losses and gradients of one batch, to a file, for comparison with other programs.
#include <cmath>

#include "bam/eval/forward.hpp"
#include "bam/io/model_folder.hpp"
#include "flags.hpp"
#include "output.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

struct ForwardFlags {
  std::string model, ids, docs;
  bool grads = false;
};

template <class T>
std::vector<std::vector<T>> read_rows(const std::string& file, std::int64_t most) {
  io::Json json = io::parse_json(io::read_file(file), file);
  std::vector<std::vector<T>> rows;
  for (const io::Json& row : json.items(file)) {
    rows.emplace_back();
    for (const io::Json& id : row.items(str(file, ": row ", rows.size() - 1)))
      rows.back().push_back(static_cast<T>(id.as_int(str(file, ": row ", rows.size() - 1), 0, most)));
  }
  return rows;
}

void run(const Common& common, const ForwardFlags& flags) {
  if (common.out.empty()) fail(ErrorKind::usage, "flag.missing", "bam forward: wanted --out OUT.safetensors");
  io::ModelFolder model = io::load_model(flags.model);
  if (io::lies_in(common.out, model.path)) fail(ErrorKind::usage, "out.input", common.out, ": --out lies in the folder of --model; name another place");
  auto ids = read_rows<std::int32_t>(flags.ids, INT32_MAX);
  std::vector<std::vector<std::int64_t>> docs;
  if (!flags.docs.empty()) docs = read_rows<std::int64_t>(flags.docs, INT32_MAX);
  if (!docs.empty() && docs.size() != ids.size()) fail(ErrorKind::input, "forward.docs", flags.docs, ": ", docs.size(), " rows, ", flags.ids, " has ", ids.size());
  ForwardResult r;
  try {
    r = forward_batch(*model.decoder, ids, docs, flags.grads);
  } catch (const Error& e) {  // what was checked is what the files hold
    if (e.kind() == ErrorKind::usage) throw Error(ErrorKind::input, e.id(), str(e.id() == "forward.docs" ? flags.docs : flags.ids, ": ", e.what()));
    throw;
  }
  if (!std::isfinite(r.loss)) fail(ErrorKind::numerics, "forward.non_finite", flags.model, ": the loss is not finite; the model's weights have overflowed; nothing was written");
  io::SafetensorsWriter writer;
  writer.add("logits", io::StoredType::f32, r.logits.shape(), [&](void* out) { std::memcpy(out, r.logits.raw(), static_cast<std::size_t>(r.logits.numel()) * 4); });
  std::vector<Parameter> parameters = model.decoder->parameters();
  if (flags.grads)
    for (const Parameter& p : parameters) writer.add("grad." + p.name, io::StoredType::f32, p.shape(), [&p](void* out) { p.read_gradient(static_cast<float*>(out)); });
  writer.write(common.out);
  if (common.json) {
    io::Json j = io::Json::object();
    j.set("loss", r.loss);
    j.set("nll", r.nll);
    j.set("load_balance", r.load_balance);
    j.set("z", r.z);
    return print_json(j);
  }
  print(str("loss ", r.loss, "  nll ", r.nll, "  load_balance ", r.load_balance, "  z ", r.z, "\n"));
}

}  // namespace

void add_forward(CLI::App& app, Common& common) {
  auto flags = std::make_shared<ForwardFlags>();
  CLI::App* verb = app.add_subcommand("forward", "Logits, losses and, on request, every gradient of one batch, to a file");
  verb->add_option("--model", flags->model, "Model folder")->type_name("DIR")->required();
  verb->add_option("--ids", flags->ids, "[[id, ...], ...], rows of equal length T + 1")->type_name("IDS.json")->required();
  verb->add_option("--docs", flags->docs, "Per row the input positions at which a further document starts")->type_name("DOCS.json");
  verb->add_flag("--grads", flags->grads, "Also write grad.<tensor name> of the loss");
  verb->callback([&common, flags] { common.run = [&common, flags] { run(common, *flags); }; });
}

}  // namespace bam::app
