// What the floors above ask of a device: whether it is there, its memory, copies to and from it. A target that links bam::cuda, or its emulation, has BAM_CUDA
// defined; without it every question about CUDA has the answer that this program was built without.
#pragma once
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "../core/device.hpp"
#include "../core/error.hpp"
#include "../kernels.hpp"
#ifdef BAM_CUDA
#include "../cuda/backend.hpp"
#endif

namespace bam {

// Why nothing can run on the device; empty: it can.
inline std::string unavailable(Device d) {
  if (d == Device::cpu) return "";
#ifdef BAM_CUDA
  return cuda::unavailable();
#else
  return "this program was built without CUDA";
#endif
}
// Error(limit): nothing can run on the device.
inline void require_device(Device d) {
  if (std::string why = unavailable(d); !why.empty()) fail(ErrorKind::limit, "device.absent", "device ", name_of(d), ": ", why, "; use --device cpu, or bam::Device::cpu");
}

inline std::string describe(Device d) {
#ifdef BAM_CUDA
  if (d == Device::cuda) return cuda::describe();
#endif
  return name_of(d);
}
// Whether it is the CPU in truth: the CUDA kernels run on it thread by thread, which proves them and takes its time.
inline bool emulated([[maybe_unused]] Device d) {
#ifdef BAM_CUDA
  return d == Device::cuda && cuda::emulated();
#else
  return false;
#endif
}

// A switch in the environment: off, or on, which it also is when it is not there. Error(usage) of this id: another word.
inline bool on_unless_off(const char* name, const char* id) {
  const char* wish = std::getenv(name);
  const std::string_view word = wish ? wish : "";
  if (!word.empty() && word != "on" && word != "off") fail(ErrorKind::usage, id, name, ": wanted on or off, got '", printable(word), "'");
  return word != "off";
}

// Bytes that can still be allocated on a device other than the CPU.
inline std::int64_t memory_available_on(Device d) {
  require_device(d);
#ifdef BAM_CUDA
  return cuda::memory_available();
#else
  return 0;
#endif
}

// Where a Decoder's weights lie and in what type it computes unless it is told otherwise: the CPU and F32, or what the command line's --device and --dtype chose.
inline Device& default_device() {
  static Device value = Device::cpu;
  return value;
}
inline DType& default_dtype() {
  static DType value = DType::f32;
  return value;
}

// Copies `rows` rows of `width` bytes, pitches apart, from one device to another or within one; in order with the kernels.
inline void copy_rows(void* to, Device to_device, std::int64_t to_pitch, const void* from, Device from_device, std::int64_t from_pitch, std::int64_t width, std::int64_t rows) {
  if (width <= 0 || rows <= 0) return;
  if (to_device == Device::cpu && from_device == Device::cpu) {
    for (std::int64_t r = 0; r < rows; ++r) std::memcpy(static_cast<char*>(to) + r * to_pitch, static_cast<const char*>(from) + r * from_pitch, static_cast<std::size_t>(width));
    return;
  }
#ifdef BAM_CUDA
  const cuda::Way way = to_device == from_device ? cuda::Way::within : to_device == Device::cuda ? cuda::Way::to_device : cuda::Way::to_host;
  cuda::copy(way, to, to_pitch, from, from_pitch, width, rows);
#else
  require_device(Device::cuda);
#endif
}
inline void copy_bytes(void* to, Device to_device, const void* from, Device from_device, std::int64_t bytes) { copy_rows(to, to_device, bytes, from, from_device, bytes, bytes, 1); }

namespace detail {
// Memory of a device other than the CPU; null: there is no more.
inline void* device_allocate(Device d, [[maybe_unused]] std::int64_t bytes) {
  require_device(d);
#ifdef BAM_CUDA
  return cuda::allocate(bytes);
#else
  return nullptr;
#endif
}
inline void device_release([[maybe_unused]] void* p) {
#ifdef BAM_CUDA
  cuda::release(p);
#endif
}
}  // namespace detail

}  // namespace bam
