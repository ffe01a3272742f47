// safetensors, strictly (docs/formats.md, section 2): u64 header length, JSON header, buffer. Ranges cover the buffer exactly; sizes are
// checked arithmetic and compared with the file's size before anything is allocated; starts need not be aligned.
#pragma once
#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "file.hpp"
#include "json.hpp"
#include "kind.hpp"

namespace bam::io {

enum class StoredType { f32, bf16, f16, f64, i64, i32, u8, boolean, other };

inline StoredType stored_type(std::string_view name) {
  if (name == "F32") return StoredType::f32;
  if (name == "BF16") return StoredType::bf16;
  if (name == "F16") return StoredType::f16;
  if (name == "F64") return StoredType::f64;
  if (name == "I64") return StoredType::i64;
  if (name == "I32") return StoredType::i32;
  if (name == "U8") return StoredType::u8;
  if (name == "BOOL") return StoredType::boolean;
  return StoredType::other;
}
inline const char* name_of(StoredType t) {
  switch (t) {
    case StoredType::f32: return "F32";
    case StoredType::bf16: return "BF16";
    case StoredType::f16: return "F16";
    case StoredType::f64: return "F64";
    case StoredType::i64: return "I64";
    case StoredType::i32: return "I32";
    case StoredType::u8: return "U8";
    case StoredType::boolean: return "BOOL";
    case StoredType::other: break;
  }
  return "?";
}
// Bits of one element, by name: types that load refuses are still measured.
inline std::int64_t bits_of(std::string_view dtype) {
  for (std::string_view n : {"BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"})
    if (dtype == n) return 8;
  for (std::string_view n : {"I16", "U16", "F16", "BF16"})
    if (dtype == n) return 16;
  for (std::string_view n : {"I32", "U32", "F32"})
    if (dtype == n) return 32;
  for (std::string_view n : {"C64", "F64", "I64", "U64"})
    if (dtype == n) return 64;
  if (dtype == "F4") return 4;
  if (dtype == "F6_E2M3" || dtype == "F6_E3M2") return 6;
  return 0;
}

inline float half_to_float(std::uint16_t h) {
  std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000 | mantissa << 13);
  if (exponent == 0) {
    float v = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -v : v;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

struct StoredTensor {
  std::string dtype;
  StoredType type = StoredType::other;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;

  std::int64_t elements() const {
    std::int64_t n = 1;
    for (std::int64_t d : shape) n *= d;
    return n;
  }
  // All elements as float; kind input for a type without a float value here.
  void to_float(float* out) const {
    auto convert = [&]<class T>(T, auto f) {
      for (std::size_t i = 0; i < bytes.size() / sizeof(T); ++i) {
        T v;
        std::memcpy(&v, bytes.data() + i * sizeof(T), sizeof(T));
        out[i] = f(v);
      }
    };
    switch (type) {
      case StoredType::f32:
        if (!bytes.empty()) std::memcpy(out, bytes.data(), bytes.size());
        return;
      case StoredType::bf16: return convert(std::uint16_t{}, [](std::uint16_t v) { return std::bit_cast<float>(static_cast<std::uint32_t>(v) << 16); });
      case StoredType::f16: return convert(std::uint16_t{}, half_to_float);
      case StoredType::f64: return convert(double{}, [](double v) { return static_cast<float>(v); });
      default: fail(ErrorKind::input, "safetensors.dtype", "safetensors: wanted F32, BF16, F16 or F64 weights, got ", printable(dtype, 40));
    }
  }
};

class SafetensorsFile {
 public:
  static constexpr std::uint64_t most_header_bytes = 100'000'000;

  explicit SafetensorsFile(const std::string& path) : file_(path), where_(printable(path, 4096)) {
    std::span<const std::byte> all = file_.bytes();
    std::string_view text = file_.text();
    std::uint64_t n = UINT64_MAX;
    if (all.size() >= 8) std::memcpy(&n, all.data(), 8);
    // A length may look like the start of another kind: 640 like a pickle's.
    const bool ours = all.size() > 8 && n <= all.size() - 8 && text[8] == '{';
    if (std::string_view kind = ours ? "" : kind_of(text.substr(0, 1024)); !kind.empty()) refuse("safetensors.kind", "wanted safetensors, this is ", kind);
    if (all.size() < 8) refuse("safetensors.short", "wanted at least 8 bytes, got ", all.size());
    if (n > most_header_bytes || n > all.size() - 8)
      refuse("safetensors.header", "the header would have ", n, " bytes, the file has ", all.size() - 8, " behind the length (and ", most_header_bytes, " is the most)");
    std::string_view header = text.substr(8, n);
    if (header.empty() || header[0] != '{') refuse("safetensors.header", "the header does not start with {");
    Json json = parse_json(header, where_);
    std::span<const std::byte> buffer = all.subspan(8 + n);
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
    std::vector<std::pair<std::pair<std::uint64_t, std::uint64_t>, std::string>> order;
    for (auto [key, value] : json.members(where_)) {
      std::string name(key), place = str(where_, ": tensor '", printable(key), "'");
      if (key == "__metadata__") {
        for (auto [k, v] : value.members(place)) {
          (void)k;
          v.as_string(place);
        }
        continue;
      }
      StoredTensor t;
      for (auto [k, v] : value.members(place)) {
        (void)v;
        if (k != "dtype" && k != "shape" && k != "data_offsets") refuse("safetensors.key", "tensor '", printable(key), "' has an unknown key '", printable(k), "'");
      }
      t.dtype = std::string(value.at("dtype", place).as_string(place));
      t.type = stored_type(t.dtype);
      std::int64_t bits = bits_of(t.dtype), elements = 1;
      if (bits == 0) refuse("safetensors.dtype", "tensor '", printable(key), "' has the unknown dtype '", printable(t.dtype, 40), "'");
      for (const Json& d : value.at("shape", place).items(place)) {
        t.shape.push_back(d.as_int(place + ": shape", 0));
        if (__builtin_mul_overflow(elements, t.shape.back(), &elements)) refuse("safetensors.shape", "tensor '", printable(key), "' has more than 2^63 elements");
      }
      std::int64_t total_bits;
      if (__builtin_mul_overflow(elements, bits, &total_bits) || total_bits % 8 != 0) refuse("safetensors.shape", "tensor '", printable(key), "' has a size that is no number of bytes");
      const Json& offsets = value.at("data_offsets", place);
      if (offsets.items(place).size() != 2) refuse("safetensors.range", "tensor '", printable(key), "' wanted two data_offsets");
      std::uint64_t begin = offsets.at(0, place).as_uint(place), end = offsets.at(1, place).as_uint(place);
      if (begin > end || end > buffer.size()) refuse("safetensors.range", "tensor '", printable(key), "' lies at ", begin, " .. ", end, ", the buffer has ", buffer.size(), " bytes");
      if (end - begin != static_cast<std::uint64_t>(total_bits / 8))
        refuse("safetensors.range", "tensor '", printable(key), "' has ", end - begin, " bytes, its shape and dtype want ", total_bits / 8);
      t.bytes = buffer.subspan(begin, end - begin);
      order.push_back({{begin, end}, name});
      tensors_.emplace(std::move(name), std::move(t));
    }
    std::sort(order.begin(), order.end());
    std::uint64_t at = 0;
    for (auto& [range, name] : order) {
      if (range.first != at) refuse("safetensors.range", "tensor '", printable(name), "' starts at ", range.first, range.first < at ? " inside the one before it, which ends at " : " behind a hole, the one before it ends at ", at);
      at = range.second;
    }
    if (at != buffer.size()) refuse("safetensors.range", buffer.size() - at, " bytes after the last tensor");
  }

  const std::map<std::string, StoredTensor>& tensors() const { return tensors_; }

 private:
  template <class... Args>
  [[noreturn]] void refuse(const char* id, const Args&... args) const {
    fail(ErrorKind::input, id, where_, ": ", args...);
  }
  MappedFile file_;
  std::string where_;
  std::map<std::string, StoredTensor> tensors_;
};

// The weights of a model folder (one file, or shards by model.safetensors.index.json), or of one file.
class WeightSet {
 public:
  const StoredTensor* find(const std::string& name) const {
    for (const auto& f : files_)
      if (auto it = f->tensors().find(name); it != f->tensors().end()) return &it->second;
    return nullptr;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> list;
    for (const auto& f : files_)
      for (const auto& [name, t] : f->tensors()) list.push_back(name);
    return list;
  }

 private:
  friend WeightSet load_weights(const std::string& path);
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
};

inline WeightSet load_weights(const std::string& path) {
  WeightSet w;
  std::string one = is_folder(path) ? path + "/model.safetensors" : path, index = path + "/model.safetensors.index.json";
  if (!is_folder(path) || exists(one) || !exists(index)) {
    w.files_.push_back(std::make_unique<SafetensorsFile>(one));
    return w;
  }
  Json json = parse_json(read_file(index), index);
  std::map<std::string, std::vector<std::string>> shards;
  for (auto [tensor, file] : json.at("weight_map", index).members(index)) {
    std::string name(file.as_string(index));
    if (name.empty() || name.find('/') != name.npos || name.find('\0') != name.npos || name[0] == '.')
      fail(ErrorKind::input, "safetensors.shard", printable(index, 4096), ": shard '", printable(name), "' is no plain file name");
    shards[name].emplace_back(tensor);
  }
  for (auto& [name, tensors] : shards) {
    auto file = std::make_unique<SafetensorsFile>(path + "/" + name);
    for (const std::string& t : tensors)
      if (!file->tensors().contains(t)) fail(ErrorKind::input, "safetensors.index", printable(index, 4096), ": '", printable(t), "' should be in ", name, ", it is not");
    for (const auto& [t, stored] : file->tensors())
      if (w.find(t)) fail(ErrorKind::input, "safetensors.twice", printable(path, 4096), ": '", printable(t), "' is in two shards");
    w.files_.push_back(std::move(file));
  }
  return w;
}

// Writes tensors in name order, the header padded with spaces to 8. fill(out) writes a tensor's bytes.
class SafetensorsWriter {
 public:
  void add(std::string name, StoredType type, std::vector<std::int64_t> shape, std::function<void(void*)> fill) {
    tensors_[std::move(name)] = {type, std::move(shape), std::move(fill)};
  }
  void write(const std::string& path) const {
    Json header = Json::object();
    header.set("__metadata__", Json::object({{"format", Json("pt")}}));
    std::int64_t at = 0;
    for (auto& [name, t] : tensors_) {
      std::int64_t end = at + t.bytes();
      header.set(name, Json::object({{"dtype", Json(name_of(t.type))}, {"shape", Json::array_of(t.shape)}, {"data_offsets", Json::array({at, end})}}));
      at = end;
    }
    std::string text = dump(header);
    text.resize((text.size() + 7) / 8 * 8, ' ');
    AtomicFile file(path);
    std::uint64_t n = text.size();
    file.write(std::span(reinterpret_cast<const std::byte*>(&n), 8));
    file.write(std::string_view(text));
    std::vector<std::byte> bytes;
    for (auto& [name, t] : tensors_) {
      bytes.resize(static_cast<std::size_t>(t.bytes()));
      t.fill(bytes.data());
      file.write(std::span<const std::byte>(bytes));
    }
    file.commit();
  }

 private:
  struct Entry {
    StoredType type;
    std::vector<std::int64_t> shape;
    std::function<void(void*)> fill;
    std::int64_t bytes() const {
      std::int64_t n = bits_of(name_of(type)) / 8;
      for (std::int64_t d : shape) n *= d;
      return n;
    }
  };
  std::map<std::string, Entry> tensors_;
};

}  // namespace bam::io
