// A parameter is a named 2-D view (rows, columns, stride) of a block of memory. Experts' projections lie side by side in one
// block, so that one GEMM reads them all, while loading, saving, freezing and decay still work on each by name.
#pragma once
#include <string>
#include <vector>

#include "../tensor/tensor.hpp"

namespace bam {

struct Parameter {
  std::string name;
  Tensor block;
  std::int64_t offset = 0, rows = 1, columns = 0, stride = 0;
  bool vector = false;  // a norm weight: shape (columns), no weight decay

  std::int64_t numel() const { return rows * columns; }
  Shape shape() const { return vector ? Shape{columns} : Shape{rows, columns}; }
  // Dense copies to and from the host, whatever the device and the type.
  void read(float* out) const {
    if (block.dtype() == DType::f32) return read(block.address(), out);
    std::vector<Bf16> narrow(static_cast<std::size_t>(numel()));
    copy_rows(narrow.data(), Device::cpu, columns * 2, block.address<Bf16>() + offset, block.device(), stride * 2, columns * 2, rows);
    for (std::size_t i = 0; i < narrow.size(); ++i) out[i] = to_float(narrow[i]);
  }
  void read_gradient(float* out) const {
    if (block.has_grad()) read(block.gradient()->data(), out);
    else std::memset(out, 0, static_cast<std::size_t>(numel()) * 4);
  }
  void write(const float* values) {
    if (block.dtype() == DType::f32) return copy_rows(block.address() + offset, block.device(), stride * 4, values, Device::cpu, columns * 4, columns * 4, rows);
    std::vector<Bf16> narrow(static_cast<std::size_t>(numel()));
    for (std::size_t i = 0; i < narrow.size(); ++i) narrow[i] = to_bf16(values[i]);
    copy_rows(block.address<Bf16>() + offset, block.device(), stride * 2, narrow.data(), Device::cpu, columns * 2, columns * 2, rows);
  }

 private:
  void read(const float* from, float* out) const { copy_rows(out, Device::cpu, columns * 4, from + offset, block.device(), stride * 4, columns * 4, rows); }
};

// The whole of a matrix or vector.
inline Parameter whole(std::string name, const Tensor& t) {
  return {std::move(name), t, 0, t.rank() == 1 ? 1 : t.rows(), t.columns(), t.columns(), t.rank() == 1};
}

}  // namespace bam
