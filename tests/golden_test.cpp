// Golden models: losses, logits and every gradient against an independent float64 implementation (golden/README.md), and equal
// bits on every instruction set and number of threads.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "bam/bam.hpp"
#include "bam/eval/forward.hpp"
#include "bam/io/model_folder.hpp"
#include "reference.hpp"
#include "support.hpp"

namespace bam::golden_test {

namespace {

std::vector<std::vector<std::int64_t>> read_rows(const std::string& file) {
  std::vector<std::vector<std::int64_t>> rows;
  if (!io::exists(file)) return rows;
  io::Json json = io::parse_json(io::read_file(file), file);
  for (const io::Json& row : json.items(file)) {
    rows.emplace_back();
    for (const io::Json& id : row.items(file)) rows.back().push_back(id.as_int(file));
  }
  return rows;
}

struct Outcome {
  ForwardResult result;
  std::vector<std::pair<std::string, std::vector<float>>> tensors;  // logits and every grad.<name>
};

Outcome compute(const std::string& folder) {
  io::ModelFolder model = io::load_model(folder);
  std::vector<std::vector<std::int32_t>> ids;
  for (auto& row : read_rows(folder + "/ids.json")) ids.emplace_back(row.begin(), row.end());
  Outcome o;
  o.result = forward_batch(*model.decoder, ids, read_rows(folder + "/docs.json"), true);
  auto logits = o.result.logits.values();
  o.tensors.emplace_back("logits", std::vector<float>(logits.begin(), logits.end()));
  for (const Parameter& p : model.decoder->parameters()) {
    std::vector<float> g(static_cast<std::size_t>(p.numel()));
    p.read_gradient(g.data());
    o.tensors.emplace_back("grad." + p.name, std::move(g));
  }
  return o;
}

double relative_error(const std::vector<float>& x, const io::StoredTensor& wanted) {
  REQUIRE(wanted.elements() == static_cast<std::int64_t>(x.size()));
  std::vector<double> w(x.size());
  if (wanted.dtype == "F64") {
    std::memcpy(w.data(), wanted.bytes.data(), x.size() * sizeof(double));
  } else {
    std::vector<float> stored(x.size());
    wanted.to_float(stored.data());
    std::copy(stored.begin(), stored.end(), w.begin());
  }
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    difference += (static_cast<double>(x[i]) - w[i]) * (static_cast<double>(x[i]) - w[i]);
    norm += w[i] * w[i];
  }
  return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

}  // namespace

TEST_CASE("golden models: forward and every gradient, equal bits on all instruction sets, thread counts and the emulated CUDA kernels") {
  const int threads_before = threads();
  const cpu::Isa isa_before = cpu::isa();
  int folders = 0;
  double worst_logits = 0, worst_gradient = 0, worst_loss = 0;
  for (auto& entry : std::filesystem::directory_iterator(test::data() + "/golden")) {
    if (!entry.is_directory() || entry.path().filename().string().starts_with("bf16")) continue;
    ++folders;
    const std::string folder = entry.path().string();
    CAPTURE(folder);
    cpu::use(isa_before);
    set_threads(2);
    Outcome first = compute(folder);
    io::Json expected = io::parse_json(io::read_file(folder + "/expected.json"), folder);
    auto loss = [&](const char* key, double got) {
      double error = std::abs(got - expected.at(key).as_double(key));
      worst_loss = std::max(worst_loss, error);
      CAPTURE(key);
      CHECK(error <= 1e-5);
    };
    loss("loss", first.result.loss);
    loss("nll", first.result.nll);
    loss("load_balance", first.result.load_balance);
    loss("z", first.result.z);
    io::SafetensorsFile file(folder + "/expected.safetensors");
    CHECK(file.tensors().size() == first.tensors.size());
    auto check = [&](const Outcome& o) {
      for (auto& pair : o.tensors) {
        const std::string& name = pair.first;
        CAPTURE(name);
        auto found = file.tensors().find(name);
        REQUIRE(found != file.tensors().end());
        double error = relative_error(pair.second, found->second);
        double& worst = name == "logits" ? worst_logits : worst_gradient;
        worst = std::max(worst, error);
        CHECK(error <= (name == "logits" ? 2e-5 : 1e-4));
      }
    };
    check(first);
    reference::everywhere([&] {
      Outcome again = compute(folder);
      CHECK(again.result.loss == first.result.loss);
      for (std::size_t i = 0; i < first.tensors.size(); ++i) {
        CAPTURE(first.tensors[i].first);
        CHECK(reference::same_bits(again.tensors[i].second, first.tensors[i].second));
      }
    });
    std::optional<Outcome> fast;
    reference::emulated("mma", [&] {
      Outcome o = compute(folder);
      if (!fast) check(*(fast = o));
      for (std::size_t i = 0; i < o.tensors.size(); ++i) CHECK(reference::same_bits(o.tensors[i].second, fast->tensors[i].second));
    });
  }
  cpu::use(isa_before);
  set_threads(threads_before);
  CHECK(folders == 15);
  MESSAGE(folders << " models; worst error: loss " << worst_loss << ", logits " << worst_logits << ", gradient " << worst_gradient);
}

TEST_CASE("golden models in bf16: right to its rounding, on the CPU, by the portable CUDA kernels with the CPU's bits, and on tensor cores") {
  reference::Settings before;
  int folders = 0;
  double worst_loss = 0, worst_logits = 0, worst_gradient = 0;
  default_dtype() = DType::bf16;
  for (const char* name : {"bf16-dense", "bf16-bam"}) {
    ++folders;
    const std::string folder = test::data() + "/golden/" + name;
    CAPTURE(folder);
    const io::Json expected = io::parse_json(io::read_file(folder + "/expected.json"), folder);
    io::SafetensorsFile file(folder + "/expected.safetensors");
    auto check = [&](const Outcome& o) {
      for (auto [key, got] : {std::pair("loss", o.result.loss), {"nll", o.result.nll}}) {
        worst_loss = std::max(worst_loss, std::abs(got - expected.at(key).as_double(key)));
        CHECK(std::abs(got - expected.at(key).as_double(key)) < 2e-2);
      }
      CHECK(file.tensors().size() == o.tensors.size());
      for (auto& pair : o.tensors) {
        CAPTURE(pair.first);
        auto found = file.tensors().find(pair.first);
        REQUIRE(found != file.tensors().end());
        const double error = relative_error(pair.second, found->second);
        double& worst = pair.first == "logits" ? worst_logits : worst_gradient;
        worst = std::max(worst, error);
        CHECK(error <= (pair.first == "logits" ? 2e-2 : 5e-2));
      }
    };
    std::optional<Outcome> first;
    reference::everywhere([&] {
      Outcome o = compute(folder);
      if (!first) check(*(first = o));
      CHECK(o.result.loss == first->result.loss);
      for (std::size_t i = 0; i < o.tensors.size(); ++i) {
        CAPTURE(o.tensors[i].first);
        CHECK(reference::same_bits(o.tensors[i].second, first->tensors[i].second));
      }
    });
    for (const char* path : reference::fast_paths()) {
      std::optional<Outcome> fast;
      const cuda::emulation::Counts before_path = cuda::emulation::counts();
      reference::emulated(path, [&] {
        Outcome o = compute(folder);
        if (!fast) check(*(fast = o));
        for (std::size_t i = 0; i < o.tensors.size(); ++i) CHECK(reference::same_bits(o.tensors[i].second, fast->tensors[i].second));
      });
      if (!reference::counted()) continue;
      CHECK(cuda::emulation::counts().matrix_loads > before_path.matrix_loads);
      if (path == std::string("wgmma")) CHECK(cuda::emulation::counts().products > before_path.products);
    }
  }
  MESSAGE(folders << " models in bf16; worst error: loss " << worst_loss << ", logits " << worst_logits << ", gradient " << worst_gradient);
}

}  // namespace bam::golden_test
