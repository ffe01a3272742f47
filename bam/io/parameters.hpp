// Named parameters to one safetensors file and back, by one call each: for a model of one's own as for ours.
//
//   std::vector<Parameter> p{whole("encoder.weight", w), whole("encoder.scale", s)};
//   io::save_parameters("weights.safetensors", p);
//   io::load_parameters("weights.safetensors", p);
#pragma once
#include <set>
#include <string>
#include <vector>

#include "../nn/parameter.hpp"
#include "safetensors.hpp"

namespace bam::io {

// Writes each parameter under its name, in F32. The file appears whole or not at all and replaces one of that name.
inline void save_parameters(const std::string& file, const std::vector<Parameter>& parameters) {
  SafetensorsWriter writer;
  std::set<std::string> names;
  for (const Parameter& p : parameters) {
    check(!p.name.empty() && p.name != "__metadata__" && names.insert(p.name).second, "parameters.name",
          "save: wanted a name of its own for each parameter, got '", printable(p.name), "'");
    writer.add(p.name, StoredType::f32, p.shape(), [&p](void* out) { p.read(static_cast<float*>(out)); });
  }
  writer.write(file);
}

// Fills the parameters by name. Names that are missing, unexpected or of another shape are listed together, and then nothing is
// written. finite: also refuse NaN and infinity, before any value is written.
inline void fill_parameters(const WeightSet& weights, std::vector<Parameter> parameters, const std::string& where, bool finite = true) {
  std::string problems;
  std::size_t count = 0;
  auto problem = [&](const auto&... parts) {
    if (++count <= 8) problems += str(count > 1 ? "; " : "", parts...);
  };
  std::vector<float> values;
  auto read = [&](const Parameter& p, const StoredTensor& t) {
    values.resize(static_cast<std::size_t>(p.numel()));
    t.to_float(values.data());
  };
  std::set<std::string> used;
  for (const Parameter& p : parameters) {
    const StoredTensor* t = weights.find(p.name);
    used.insert(p.name);
    if (!t) {
      problem("'", printable(p.name), "' is missing");
    } else if (t->shape != p.shape()) {
      problem("'", printable(p.name), "' wanted shape ", to_string(p.shape()), ", found ", to_string(t->shape));
    } else if (finite) {
      read(p, *t);
      for (float v : values)
        if (!(v - v == 0)) {
          problem("'", printable(p.name), "' holds a value that is not finite");
          break;
        }
    }
  }
  for (auto& name : weights.names())
    if (!used.contains(name)) problem("'", printable(name), "' is not part of this model");
  if (count) fail(ErrorKind::input, "model.weights", printable(where, 4096), ": ", problems, count > 8 ? str("; and ", count - 8, " more") : std::string());
  for (Parameter& p : parameters) {
    read(p, *weights.find(p.name));
    p.write(values.data());
  }
}

// file: also a folder with model.safetensors, or with shards and their index.
inline void load_parameters(const std::string& file, const std::vector<Parameter>& parameters, bool finite = true) {
  fill_parameters(load_weights(file), parameters, file, finite);
}

}  // namespace bam::io
