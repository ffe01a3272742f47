// A tensor is a value: shape, dtype, device and shared storage, always dense and row-major. Copies alias. Beside the storage it
// carries its gradient, so that a gradient lives as long as what it belongs to and no longer.
#pragma once
#include <concepts>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "../core/bf16.hpp"
#include "../core/dtype.hpp"
#include "../core/error.hpp"
#include "../core/math.hpp"
#include "../core/random.hpp"
#include "kernel.hpp"
#include "storage.hpp"

namespace bam {

using Shape = std::vector<std::int64_t>;

inline std::int64_t numel(const Shape& shape) {
  std::int64_t n = 1;
  for (std::int64_t d : shape) {
    check(d >= 0, "shape.negative", "shape: an axis has ", d, " elements");
    check(!__builtin_mul_overflow(n, d, &n), "shape.overflow", "shape: more than 2^63 elements");
  }
  return n;
}
inline std::string to_string(const Shape& shape) {
  std::string s = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + ")";
}

// Where a gradient is gathered, on the device of what it belongs to, in F32, or in BF16 for an activation of BF16 that has one use. The first contribution to an empty
// gradient overwrites, later ones add.
class Gradient {
 public:
  explicit Gradient(Device d = Device::cpu, DType t = DType::f32) : device_(d), dtype_(t) {}
  bool wanted = false;  // somebody below asks for it
  Device device() const { return device_; }
  DType dtype() const { return dtype_; }

  bool empty() const { return !filled_; }
  // Memory of n elements to write to, and how: a kernel's output pointer and its Write. T is float, or void for either type.
  template <class T = float>
  std::pair<T*, Write> target(std::int64_t n) {
    check_type<T>();
    Write write = filled_ ? Write::add : Write::overwrite;
    if (!buffer_) buffer_ = std::make_shared<Storage>(n * size_of(dtype_), device_);
    filled_ = true;
    return {static_cast<T*>(buffer_->data()), write};
  }
  template <class T = float>
  T* data() const {
    check_type<T>();
    return filled_ ? static_cast<T*>(buffer_->data()) : nullptr;
  }
  // Where its memory is, filled or retained; null: there is none.
  const void* kept() const { return buffer_ ? buffer_->data() : nullptr; }
  // Adds all of `other` here, taking its memory when this one is empty and of its type; `other` is empty afterwards, and, with keep, retains its memory unless it was taken.
  void absorb(Gradient& other, std::int64_t n, bool keep = false) {
    if (!filled_ && dtype_ == other.dtype_) {
      buffer_ = std::move(other.buffer_);
      filled_ = true;
    } else {
      CastArgs a;
      a.from = other.dtype_;
      a.to = dtype_;
      a.n = n;
      a.x = other.data<void>();
      std::tie(a.y, a.write) = target<void>(n);
      kernel::cast(a, device_);
    }
    other.clear(keep);
  }
  // Empty again; keep retains the memory for the next step.
  void clear(bool keep = false) {
    filled_ = false;
    if (!keep) buffer_.reset();
  }
  void swap(Gradient& other) {
    std::swap(buffer_, other.buffer_);
    std::swap(filled_, other.filled_);
  }

 private:
  template <class T>
  void check_type() const {
    check(std::is_void_v<T> || dtype_ == DType::f32, "dtype.gradient", "gradient: is of ", name_of(dtype_), ", wanted F32");
  }
  Device device_;
  DType dtype_;
  std::shared_ptr<Storage> buffer_;
  bool filled_ = false;
};

class Tensor {
 public:
  Tensor() = default;
  // Uninitialised. Error(limit): the device is absent, or has no memory left.
  explicit Tensor(Shape shape, DType dtype = DType::f32, Device device = Device::cpu)
      : shape_(std::move(shape)),
        dtype_(dtype),
        numel_(bam::numel(shape_)),
        gradient_(std::make_shared<Gradient>(device, dtype == DType::bf16 ? dtype : DType::f32)) {
    std::int64_t bytes;
    check(!__builtin_mul_overflow(numel_, size_of(dtype), &bytes), "shape.overflow", "shape: ", to_string(shape_), " is too large");
    try {
      storage_ = std::make_shared<Storage>(bytes, device);
    } catch (const Error& e) {
      throw Error(e.kind(), e.id(), str("tensor ", to_string(shape_), " of ", name_of(dtype), ": ", e.what()));
    }
  }

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  std::int64_t rank() const { return static_cast<std::int64_t>(shape_.size()); }
  // Axis i; negative counts from the end.
  std::int64_t size(std::int64_t i) const {
    std::int64_t axis = i < 0 ? i + rank() : i;
    if (axis < 0 || axis >= rank()) [[unlikely]] refuse_axis(i);
    return shape_[static_cast<std::size_t>(axis)];
  }
  std::int64_t numel() const { return numel_; }
  std::int64_t columns() const { return shape_.empty() ? 1 : shape_.back(); }
  std::int64_t rows() const {  // all axes but the last
    std::int64_t n = 1;
    for (std::size_t i = 0; i + 1 < shape_.size(); ++i) n *= shape_[i];
    return n;
  }
  DType dtype() const { return dtype_; }
  Device device() const { return storage_ ? storage_->device() : Device::cpu; }
  // The memory as kernels of the tensor's device see it; data() is for the host. A pointer to write through is good until the tensor is computed with: what is written later may not be seen (version).
  void* raw() {
    ++storage_->version;
    return storage_->data();
  }
  const void* raw() const { return storage_->data(); }
  template <class T = float>
  T* address() {
    check_access<T>();
    return static_cast<T*>(raw());
  }
  template <class T = float>
  const T* address() const {
    check_access<T>();
    return static_cast<const T*>(raw());
  }
  template <class T = float>
  T* data() {
    check_here();
    return address<T>();
  }
  template <class T = float>
  const T* data() const {
    check_here();
    return address<T>();
  }
  // Changes whenever the memory may have been written to through a tensor.
  std::uint64_t version() const { return storage_->version; }
  template <class T = float>
  std::span<const T> values() const {
    return {data<T>(), static_cast<std::size_t>(numel_)};
  }
  float item() const {
    check(numel_ == 1 && dtype_ == DType::f32, "item.shape", "item: wanted one F32 element, shape is ", to_string(shape_));
    return to(Device::cpu).data()[0];
  }
  // This tensor where it lies there already, else a copy there, without a gradient: for inputs, weights and results, not between the ops of a tape.
  Tensor to(Device d) const {
    if (d == device()) return *this;
    Tensor t(shape_, dtype_, d);
    copy_bytes(t.raw(), d, raw(), device(), numel_ * size_of(dtype_));
    return t;
  }

  // Same memory, same gradient, another shape of as many elements.
  Tensor reshape(Shape shape) const {
    check(bam::numel(shape) == numel_, "reshape.size", "reshape: ", to_string(shape_), " to ", to_string(shape));
    Tensor t = *this;
    t.shape_ = std::move(shape);
    return t;
  }
  // Same memory, a gradient of its own: a second use of one parameter (tied embeddings), or a constant.
  Tensor detach() const {
    Tensor t = *this;
    t.gradient_ = std::make_shared<Gradient>(device(), gradient_->dtype());
    return t;
  }
  Tensor clone() const {
    Tensor t(shape_, dtype_, device());
    CopyArgs a;
    a.dtype = dtype_;
    a.rank = 1;
    a.shape[0] = numel_;
    a.x_stride[0] = a.y_stride[0] = 1;
    a.x = raw();
    a.y = t.raw();
    kernel::copy(a, device());
    return t;
  }

  Tensor& requires_grad(bool on = true) {
    gradient_->wanted = on;
    return *this;
  }
  bool wants_grad() const { return gradient_ && gradient_->wanted; }
  bool has_grad() const { return gradient_ && !gradient_->empty(); }
  Tensor grad() const;  // a copy of the gradient in F32, of this shape; zeros when there is none
  const std::shared_ptr<Gradient>& gradient() const { return gradient_; }
  // The same values in F32 or BF16. The gradient is shared: what a forward pass in BF16 reads of a parameter in F32 adds to the parameter's own.
  Tensor rounded(DType dtype) const {
    if (dtype == dtype_) return *this;
    Tensor t(shape_, dtype, device());
    CastArgs a;
    a.from = dtype_;
    a.to = dtype;
    a.n = numel_;
    a.x = std::as_const(*this).raw();
    a.y = t.raw();
    kernel::cast(a, device());
    t.gradient_ = gradient_;
    return t;
  }
  // For an activation of BF16 with several uses: its gradient adds them up in F32.
  Tensor& gradient_in_f32() {
    gradient_ = std::make_shared<Gradient>(device());
    return *this;
  }

 private:
  template <class T>
  void check_access() const {
    if (sizeof(T) != size_of(dtype_)) [[unlikely]] refuse_access();
  }
  void check_here() const {
    if (device() != Device::cpu) [[unlikely]] refuse_here();
  }
  // Apart from the checks, which loops call for every element: their text costs more than all else.
  [[noreturn, gnu::noinline, gnu::cold]] void refuse_axis(std::int64_t i) const { fail(ErrorKind::usage, "axis.range", "tensor: axis ", i, " of shape ", to_string(shape_)); }
  [[noreturn, gnu::noinline, gnu::cold]] void refuse_access() const { fail(ErrorKind::usage, "dtype.access", "tensor: ", to_string(shape_), " holds ", name_of(dtype_)); }
  [[noreturn, gnu::noinline, gnu::cold]] void refuse_here() const { fail(ErrorKind::usage, "device.access", "tensor: ", to_string(shape_), " lies on ", name_of(device()), "; to(bam::Device::cpu) copies it here"); }

  Shape shape_;
  DType dtype_ = DType::f32;
  std::int64_t numel_ = 0;
  std::shared_ptr<Storage> storage_;
  std::shared_ptr<Gradient> gradient_;
};

inline Tensor full(Shape shape, double value, DType dtype = DType::f32, Device device = Device::cpu) {
  Tensor t(std::move(shape), dtype, device);
  FillArgs a;
  a.dtype = dtype;
  a.n = t.numel();
  a.value = value;
  a.y = t.raw();
  kernel::fill(a, device);
  return t;
}
inline Tensor zeros(Shape shape, DType dtype = DType::f32, Device device = Device::cpu) { return full(std::move(shape), 0, dtype, device); }
inline Tensor ones(Shape shape, DType dtype = DType::f32, Device device = Device::cpu) { return full(std::move(shape), 1, dtype, device); }

inline Tensor Tensor::grad() const {
  if (!has_grad()) return zeros(shape_, DType::f32, device());
  Tensor g(shape_, DType::f32, device());
  CastArgs a;
  a.from = gradient_->dtype();
  a.n = numel_;
  a.x = gradient_->data<void>();
  a.y = g.raw();
  kernel::cast(a, device());
  return g;
}

namespace detail {
template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) return DType::f32;
  else if constexpr (std::is_same_v<T, double>) return DType::f64;
  else if constexpr (std::is_same_v<T, std::int32_t>) return DType::i32;
  else if constexpr (std::is_same_v<T, std::uint8_t>) return DType::u8;
  else if constexpr (std::is_same_v<T, Bf16>) return DType::bf16;
  else {
    static_assert(std::signed_integral<T> && sizeof(T) == 8, "tensor: wanted float, double, Bf16, std::uint8_t, or integers of 4 or 8 bytes with a sign");
    return DType::i64;
  }
}
}  // namespace detail

namespace detail {
// The device that an op's tensors share. Undefined ones are passed over.
template <class... Rest>
Device device_of(const char* op, const Tensor& first, const Rest&... rest) {
  auto agree = [&](const Tensor& t) {
    check(!t.defined() || t.device() == first.device(), "device.mixed", op, ": ", to_string(t.shape()), " lies on ", name_of(t.device()), ", ", to_string(first.shape()), " on ", name_of(first.device()), "; move one with to()");
  };
  (agree(rest), ...);
  return first.device();
}
}  // namespace detail

// A tensor of these values.
template <class T>
Tensor tensor(std::span<const T> values, Shape shape) {
  Tensor t(std::move(shape), detail::dtype_of<T>());
  check(static_cast<std::int64_t>(values.size()) == t.numel(), "tensor.size", "tensor: ", values.size(), " values for shape ", to_string(t.shape()));
  if (!values.empty()) std::memcpy(t.raw(), values.data(), values.size_bytes());
  return t;
}
template <class T>
Tensor tensor(const std::vector<T>& values, Shape shape) {
  return tensor(std::span<const T>(values), std::move(shape));
}
template <class T>
Tensor tensor(const std::vector<T>& values) {
  return tensor(std::span<const T>(values), {static_cast<std::int64_t>(values.size())});
}
inline Tensor tensor(std::initializer_list<float> values) {
  return tensor(std::span<const float>(values.begin(), values.size()), {static_cast<std::int64_t>(values.size())});
}

// Independent normal draws, mean 0.
inline Tensor randn(Shape shape, Random& random, double std = 1.0) {
  Tensor t(std::move(shape));
  float* p = t.data();
  for (std::int64_t i = 0; i < t.numel(); ++i) p[i] = static_cast<float>(std * math::normal(random));
  return t;
}
inline Tensor rand(Shape shape, Random& random, double low = 0.0, double high = 1.0) {
  Tensor t(std::move(shape));
  float* p = t.data();
  for (std::int64_t i = 0; i < t.numel(); ++i) p[i] = static_cast<float>(low + (high - low) * random.uniform());
  return t;
}
// Marks t as a parameter: a tape then gathers its gradient.
inline Tensor parameter(Tensor t) {
  check(t.dtype() == DType::f32, "parameter.dtype", "parameter: wanted F32, got ", name_of(t.dtype()));
  return t.requires_grad();
}

}  // namespace bam
