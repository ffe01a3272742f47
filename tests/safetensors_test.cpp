// safetensors: what is written is read, what is damaged is refused; model folders; a user's own parameters.
#include "bam/io/safetensors.hpp"

#include <cmath>
#include <limits>

#include "bam/io/model_folder.hpp"
#include "bam/io/parameters.hpp"
#include "support.hpp"

namespace bam::safetensors_test {

using namespace bam::io;
using test::error_of;
using test::has;
using test::TemporaryFolder;

namespace {

std::string raw(std::string_view header, std::string_view buffer) {
  std::uint64_t n = header.size();
  return std::string(reinterpret_cast<const char*>(&n), 8) + std::string(header) + std::string(buffer);
}
std::string entry(const char* name, const char* dtype, const char* shape, int begin, int end) {
  return str("\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":", shape, ",\"data_offsets\":[", begin, ",", end, "]}");
}
// The error of opening a file of this content, which it must name; "" when it opens.
std::string opened(const std::string& content) {
  TemporaryFolder f;
  write_file_atomic(f / "x.safetensors", content);
  std::string message = error_of(ErrorKind::input, [&] { SafetensorsFile file(f / "x.safetensors"); });
  if (!message.empty()) CHECK(has(message, f / "x.safetensors"));
  return message;
}
std::string opened(std::string_view header, std::string_view buffer) { return opened(raw(header, buffer)); }

template <class T>
std::function<void(void*)> bytes_of_values(std::vector<T> values) {
  return [values](void* out) { std::memcpy(out, values.data(), values.size() * sizeof(T)); };
}

ModelConfig small_config() {
  ModelConfig c;
  c.family = Family::bam;
  c.vocab_size = 12;
  c.hidden_size = 8;
  c.intermediate_size = 6;
  c.num_hidden_layers = 1;
  c.num_attention_heads = c.num_key_value_heads = 2;
  c.head_dim = 4;
  c.num_experts = c.num_attention_experts = 2;
  c.share_kv = true;
  c.tie_word_embeddings = false;
  return c;
}
// The folder with config.json, and the writer of its weights, which a test may change.
struct Folder {
  TemporaryFolder f;
  Decoder model{small_config()};
  std::map<std::string, std::vector<float>> values;
  std::map<std::string, std::vector<std::int64_t>> shapes;
  Folder() {
    model.initialize(3, 0.5);
    ConfigFile config;
    config.model = small_config();
    write_file_atomic(f / "config.json", dump(model_config_json(config)));
    for (const Parameter& p : model.parameters()) {
      values[p.name].resize(static_cast<std::size_t>(p.numel()));
      p.read(values[p.name].data());
      shapes[p.name] = p.shape();
    }
  }
  void write(
      const std::string& file = "model.safetensors", const std::function<bool(const std::string&)>& take = [](const std::string&) { return true; }) const {
    SafetensorsWriter w;
    for (auto& [name, v] : values)
      if (take(name)) w.add(name, StoredType::f32, shapes.at(name), bytes_of_values(v));
    w.write(f / file);
  }
  std::string error() const {
    return error_of(ErrorKind::input, [&] { load_model(f.path); });
  }
  bool equal(const Decoder& other) const {
    for (const Parameter& p : other.parameters()) {
      std::vector<float> v(static_cast<std::size_t>(p.numel()));
      p.read(v.data());
      if (v != values.at(p.name)) return false;
    }
    return true;
  }
};

}  // namespace

TEST_CASE("safetensors: every stored type, in name order, header padded to 8") {
  TemporaryFolder f;
  const float inf = std::numeric_limits<float>::infinity();
  SafetensorsWriter w;
  w.add("z", StoredType::f32, {2, 3}, bytes_of_values<float>({1, -2.5f, 0, -0.0f, inf, 1e-45f}));
  w.add("b16", StoredType::bf16, {3}, bytes_of_values<std::uint16_t>({0x3f80, 0xc040, 0x0001}));
  w.add("a", StoredType::u8, {3}, bytes_of_values<std::uint8_t>({0, 7, 255}));  // the next tensor starts at an odd byte
  w.add("h", StoredType::f16, {6}, bytes_of_values<std::uint16_t>({0x3c00, 0xc100, 0x0001, 0x7c00, 0x03ff, 0x8000}));
  w.add("d", StoredType::f64, {2}, bytes_of_values<double>({0.1, -3}));
  w.add("i", StoredType::i64, {1}, bytes_of_values<std::int64_t>({INT64_MIN}));
  w.add("j", StoredType::i32, {2, 1}, bytes_of_values<std::int32_t>({-1, 5}));
  w.add("t", StoredType::boolean, {2}, bytes_of_values<std::uint8_t>({1, 0}));
  w.add("none", StoredType::f32, {4, 0}, [](void*) {});
  w.add("scalar", StoredType::f32, {}, bytes_of_values<float>({9}));
  w.add("\"q\" \xc3\xa9\n", StoredType::u8, {1}, bytes_of_values<std::uint8_t>({3}));
  w.write(f / "x");
  std::string content = read_file(f / "x");
  std::uint64_t n;
  std::memcpy(&n, content.data(), 8);
  CHECK(n % 8 == 0);
  std::string header = content.substr(8, n);
  CHECK(header.starts_with("{\"__metadata__\""));
  Json json = parse_json(header, "x");
  CHECK(dump(json.at("__metadata__")) == dump(Json::object({{"format", "pt"}})));
  std::vector<std::string> order;
  std::uint64_t at = 0;
  for (auto [name, t] : json.members("x")) {
    if (name == "__metadata__") continue;
    order.emplace_back(name);
    CHECK(t.at("data_offsets").at(0).as_uint("x") == at);
    at = t.at("data_offsets").at(1).as_uint("x");
  }
  CHECK(at == content.size() - 8 - n);
  CHECK(std::is_sorted(order.begin(), order.end()));
  CHECK(order.size() == 11);

  SafetensorsFile file(f / "x");
  auto floats = [&](const char* name) {
    const StoredTensor& t = file.tensors().at(name);
    std::vector<float> v(static_cast<std::size_t>(t.elements()));
    t.to_float(v.data());
    return v;
  };
  auto exact = [&](const char* name, const char* dtype, std::vector<std::int64_t> shape, auto values) {
    CAPTURE(name);
    const StoredTensor& t = file.tensors().at(name);
    CHECK(t.dtype == dtype);
    CHECK(std::string(name_of(t.type)) == dtype);
    CHECK(t.shape == shape);
    REQUIRE(t.bytes.size() == values.size() * sizeof values[0]);
    CHECK((values.empty() || std::memcmp(t.bytes.data(), values.data(), t.bytes.size()) == 0));
  };
  exact("z", "F32", {2, 3}, std::vector<float>{1, -2.5f, 0, -0.0f, inf, 1e-45f});
  exact("a", "U8", {3}, std::vector<std::uint8_t>{0, 7, 255});
  exact("i", "I64", {1}, std::vector<std::int64_t>{INT64_MIN});
  exact("j", "I32", {2, 1}, std::vector<std::int32_t>{-1, 5});
  exact("t", "BOOL", {2}, std::vector<std::uint8_t>{1, 0});
  exact("d", "F64", {2}, std::vector<double>{0.1, -3});
  exact("none", "F32", {4, 0}, std::vector<float>{});
  exact("scalar", "F32", {}, std::vector<float>{9});
  CHECK(file.tensors().contains("\"q\" \xc3\xa9\n"));
  CHECK(floats("z") == std::vector<float>{1, -2.5f, 0, -0.0f, inf, 1e-45f});
  CHECK(std::signbit(floats("z")[3]));
  CHECK(floats("b16") == std::vector<float>{1, -3, 0x1p-133f});
  CHECK(floats("h") == std::vector<float>{1, -2.5f, 0x1p-24f, inf, 1023 * 0x1p-24f, -0.0f});
  CHECK(std::signbit(floats("h")[5]));
  CHECK(floats("d") == std::vector<float>{0.1f, -3});
  for (const char* name : {"a", "i", "j", "t"}) CHECK(has(error_of(ErrorKind::input, [&] { floats(name); }), "safetensors.dtype"));
  // The same tensors give the same bytes.
  w.write(f / "y");
  CHECK(read_file(f / "y") == content);
}

TEST_CASE("safetensors: no tensor, and metadata of others") {
  CHECK(opened("{}", "") == "");
  CHECK(opened("{}      ", "") == "");
  CHECK(opened("{\"__metadata__\":{\"a\":\"b\"}}", "") == "");
  CHECK(opened("{" + entry("x", "F8_E4M3", "[3]", 0, 3) + "}", "abc") == "");  // measured, though not read as weights
  CHECK(opened("{" + entry("x", "F4", "[4]", 0, 2) + "}", "ab") == "");
  CHECK(opened("{" + entry("x", "U8", "[0,9223372036854775807]", 0, 0) + "}", "") == "");
}

TEST_CASE("safetensors: damaged files are refused") {
  auto refused = [](const std::string& message, const char* wanted) {
    CAPTURE(message);
    CAPTURE(wanted);
    CHECK(message.starts_with(wanted));
  };
  const std::string good = "{" + entry("a", "F32", "[2]", 0, 8) + "," + entry("b", "U8", "[3]", 8, 11) + "}";
  REQUIRE(opened(good, "12345678abc") == "");
  // The buffer: hole, overlap, tail, too short.
  refused(opened("{" + entry("a", "F32", "[2]", 0, 8) + "," + entry("b", "U8", "[3]", 9, 12) + "}", "12345678.abc"), "safetensors.range: ");
  refused(opened("{" + entry("a", "F32", "[2]", 1, 9) + "}", "123456789"), "safetensors.range: ");
  refused(opened("{" + entry("a", "F32", "[2]", 0, 8) + "," + entry("b", "U8", "[3]", 7, 10) + "}", "1234567abc"), "safetensors.range: ");
  refused(opened("{" + entry("a", "F32", "[2]", 0, 8) + "," + entry("b", "F32", "[2]", 0, 8) + "}", "12345678"), "safetensors.range: ");
  refused(opened(good, "12345678abcd"), "safetensors.range: ");
  refused(opened("{}", "x"), "safetensors.range: ");
  for (std::size_t cut = 0; cut < 11; ++cut) refused(opened(good, std::string_view("12345678abc").substr(0, cut)), "safetensors.range: ");
  CHECK(has(opened(good, "12345678abcd"), "1 bytes after the last tensor"));
  CHECK(has(opened("{" + entry("a", "F32", "[2]", 0, 8) + "," + entry("b", "U8", "[3]", 9, 12) + "}", "12345678.abc"), "tensor 'b' starts at 9 behind a hole"));
  // Size against shape and dtype, in checked arithmetic.
  refused(opened("{" + entry("a", "F32", "[3]", 0, 8) + "}", "12345678"), "safetensors.range: ");
  refused(opened("{" + entry("a", "F64", "[2]", 0, 8) + "}", "12345678"), "safetensors.range: ");
  refused(opened("{" + entry("a", "F32", "[4294967296,4294967296]", 0, 0) + "}", ""), "safetensors.shape: ");
  refused(opened("{" + entry("a", "F64", "[2305843009213693952]", 0, 0) + "}", ""), "safetensors.shape: ");
  refused(opened("{" + entry("a", "F4", "[3]", 0, 2) + "}", "12"), "safetensors.shape: ");
  refused(opened("{" + entry("a", "F32", "[-2]", 0, 8) + "}", "12345678"), "json.range: ");
  refused(opened("{" + entry("a", "F32", "[2]", 8, 0) + "}", "12345678"), "safetensors.range: ");
  refused(opened("{" + entry("a", "F32", "[2]", -8, 0) + "}", "12345678"), "json.range: ");
  refused(opened("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", "12345678"), "safetensors.range: ");
  refused(opened("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,18446744073709551615]}}", "12345678"), "safetensors.range: ");
  refused(opened("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8.5]}}", "12345678"), "json.");
  // The header.
  refused(opened("{" + entry("a", "F32", "[2]", 0, 8) + "," + entry("a", "F32", "[2]", 0, 8) + "}", "12345678"), "json.duplicate: ");
  refused(opened("{\"\\u0061\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}," + entry("a", "F32", "[2]", 0, 8) + "}", "12345678"),
          "json.duplicate: ");
  refused(opened("{" + entry("a", "Q4_0", "[2]", 0, 8) + "}", "12345678"), "safetensors.dtype: ");
  refused(opened("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", "12345678"), "safetensors.key: ");
  refused(opened("{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", ""), "json.key: ");
  refused(opened("{\"a\":[]}", ""), "json.type: ");
  refused(opened("{\"__metadata__\":{\"a\":1}}", ""), "json.type: ");
  refused(opened("[]", ""), "safetensors.header: ");
  refused(opened("\"x\"", ""), "safetensors.header: ");
  refused(opened(" {}", ""), "safetensors.header: ");
  refused(opened("", ""), "safetensors.header: ");
  refused(opened("{", ""), "json.");
  refused(opened("{}x", ""), "json.");
  refused(opened("{\"a\xff\":{}}", ""), "json.");
  // The length.
  refused(opened(""), "safetensors.");
  refused(opened("1234567"), "safetensors.short: ");
  auto with_length = [](std::uint64_t n) { return std::string(reinterpret_cast<const char*>(&n), 8) + "{}"; };
  REQUIRE(opened(with_length(2)) == "");
  for (std::uint64_t n : {std::uint64_t{3}, std::uint64_t{100'000'001}, std::uint64_t{1} << 63, ~std::uint64_t{0}})
    refused(opened(with_length(n)), "safetensors.header: ");
  // Something else altogether is named.
  refused(opened(std::string("GGUF") + std::string(60, '\0')), "safetensors.kind: ");
  CHECK(has(error_of(ErrorKind::input, [] { SafetensorsFile x("/nowhere/x.safetensors"); }), "file.missing"));
}

TEST_CASE("safetensors: a header's length may look like the start of another kind of file") {
  for (std::size_t n : {640u, 896u, 1152u, 1408u, 66176u, 0x8b1fu}) {  // a pickle's, and gzip's
    CAPTURE(n);
    std::string header = "{" + entry("a", "F32", "[2]", 0, 8) + "}";
    header.resize(n, ' ');
    CHECK(opened(header, "12345678") == "");
  }
  CHECK(has(opened(std::string("\x80\x02") + std::string(60, 'x')), "a Python pickle"));
}

TEST_CASE("safetensors: any one damaged byte of a header is refused or read, never worse") {
  TemporaryFolder f;
  const std::string good = raw("{" + entry("a", "F32", "[2]", 0, 8) + "," + entry("b", "U8", "[3]", 8, 11) + "}", "12345678abc");
  std::size_t refused = 0;
  for (std::size_t i = 0; i + 11 < good.size(); ++i)
    for (int bit : {0, 3, 7}) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      write_file_atomic(f / "x", bad);
      try {
        SafetensorsFile file(f / "x");
        std::size_t bytes = 0;
        for (auto& [name, t] : file.tensors()) bytes += t.bytes.size();
        CHECK(bytes == 11);
      } catch (const Error& e) {
        ++refused;
        CHECK(e.kind() == ErrorKind::input);
      }
    }
  CHECK(refused > good.size());
}

TEST_CASE("model folder: shards by their index") {
  Folder m;
  auto even = [](const std::string& name) { return name.size() % 2 == 0; };
  m.write("one.safetensors", even);
  m.write("two.safetensors", [&](const std::string& name) { return !even(name); });
  auto index = [&](auto change) {
    Json map = Json::object();
    for (auto& [name, v] : m.values) map.set(name, even(name) ? "one.safetensors" : "two.safetensors");
    change(map);
    write_file_atomic(m.f / "model.safetensors.index.json", dump(Json::object({{"metadata", Json::object({})}, {"weight_map", std::move(map)}})));
  };
  index([](Json&) {});
  CHECK(m.equal(*load_model(m.f.path).decoder));
  const std::string some = m.values.begin()->first;
  index([&](Json& map) { map.set(some, even(some) ? "two.safetensors" : "one.safetensors"); });
  CHECK(has(m.error(), "safetensors.index: "));
  index([&](Json& map) { map.set("extra", "one.safetensors"); });
  CHECK(has(m.error(), "'extra' should be in one.safetensors, it is not"));
  index([&](Json& map) { map.set(some, "three.safetensors"); });
  CHECK(has(m.error(), "three.safetensors"));
  for (const char* path : {"../one.safetensors", "/etc/passwd", "", ".hidden"}) {
    index([&](Json& map) { map.set(some, path); });
    CHECK(has(m.error(), "safetensors.shard: "));
  }
  m.write("one.safetensors");
  m.write("two.safetensors");
  index([](Json&) {});
  CHECK(has(m.error(), "safetensors.twice: "));
  // One file beside an index is the model.
  m.write();
  CHECK(m.equal(*load_model(m.f.path).decoder));
}

TEST_CASE("model folder: missing, unexpected, misshapen and non-finite tensors are listed by name") {
  {
    Folder m;
    CHECK(has(m.error(), "file.missing"));
    m.write();
    CHECK(m.equal(*load_model(m.f.path).decoder));
    TemporaryFolder copy;
    ConfigFile config;
    config.model = small_config();
    write_model(copy.path, config, m.model, "", Json::object({{"method", "test"}}));
    CHECK(m.equal(*load_model(copy.path).decoder));
    CHECK(has(read_file(copy / "bam_manifest.json"), "\"method\""));
    CHECK(read_file(copy / "model.safetensors") == read_file(m.f / "model.safetensors"));
  }
  Folder m;
  m.values["lm_head.bias"] = {1};
  m.shapes["lm_head.bias"] = {1};
  m.values.erase("model.layers.0.mlp.experts.1.up_proj.weight");
  m.shapes["model.embed_tokens.weight"] = {8, 12};
  m.shapes["model.norm.weight"] = {8, 1};
  m.values["lm_head.weight"][5] = std::numeric_limits<float>::quiet_NaN();
  m.write();
  std::string message = m.error();
  CAPTURE(message);
  CHECK(message.starts_with("model.weights: " + m.f.path));
  CHECK(has(message, "'model.layers.0.mlp.experts.1.up_proj.weight' is missing"));
  CHECK(has(message, "'model.embed_tokens.weight' wanted shape"));
  CHECK(has(message, "'model.norm.weight' wanted shape"));
  CHECK(has(message, "'lm_head.bias' is not part of this model"));
  CHECK(has(message, "'lm_head.weight' holds a value that is not finite"));
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    Folder n;
    n.values["model.norm.weight"][7] = bad;
    n.write();
    CHECK(has(n.error(), "model.weights: " + n.f.path + ": 'model.norm.weight' holds a value that is not finite"));
    CHECK_NOTHROW(load_model(n.f.path, false));
  }
  CHECK(has(error_of(ErrorKind::input, [] { load_model("/nowhere"); }), "model.folder"));
}

TEST_CASE("parameters of one's own: saved and loaded by one call, strictly") {
  TemporaryFolder f;
  // A matrix, a vector, and two views side by side in one block.
  auto make = [](float first, std::vector<Parameter>& p) {
    std::vector<Tensor> t{Tensor({2, 3}), Tensor({4}), Tensor({2, 4})};
    for (Tensor& x : t)
      for (std::int64_t i = 0; i < x.numel(); ++i) x.data()[i] = first++;
    p = {whole("net.weight", t[0]), whole("net.scale", t[1])};
    p.push_back({"net.left", t[2], 0, 2, 1, 4, false});
    p.push_back({"net.right", t[2], 1, 2, 3, 4, false});
    return t;
  };
  std::vector<Parameter> saved;
  std::vector<Tensor> a = make(1, saved);
  std::vector<Parameter> loaded;
  std::vector<Tensor> b = make(100, loaded);
  save_parameters(f / "x.safetensors", saved);
  load_parameters(f / "x.safetensors", loaded);
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(std::equal(a[i].values().begin(), a[i].values().end(), b[i].values().begin()));
  SafetensorsFile file(f / "x.safetensors");
  CHECK(file.tensors().size() == 4);
  CHECK(file.tensors().at("net.scale").shape == std::vector<std::int64_t>{4});
  CHECK(file.tensors().at("net.right").shape == std::vector<std::int64_t>{2, 3});

  // Strict, and then nothing is changed.
  std::vector<Parameter> other;
  std::vector<Tensor> c = make(100, other);
  other[0].name = "net.wieght";
  Tensor three({3});
  other[1] = whole("net.scale", three);
  std::string message = error_of(ErrorKind::input, [&] { load_parameters(f / "x.safetensors", other); });
  CAPTURE(message);
  CHECK(message.starts_with("model.weights: " + (f / "x.safetensors")));
  CHECK(has(message, "'net.wieght' is missing"));
  CHECK(has(message, "'net.scale' wanted shape"));
  CHECK(has(message, "'net.weight' is not part of this model"));
  CHECK(c[2].data()[0] == 110);  // net.left would have fitted
  std::vector<Parameter> fewer(loaded.begin(), loaded.begin() + 2);
  CHECK(has(error_of(ErrorKind::input, [&] { load_parameters(f / "x.safetensors", fewer); }), "'net.left' is not part of this model"));
  // Not a number: refused before anything is written, unless allowed.
  a[1].data()[2] = std::numeric_limits<float>::quiet_NaN();
  save_parameters(f / "nan.safetensors", saved);
  std::vector<Parameter> target;
  std::vector<Tensor> d = make(100, target);
  CHECK(has(error_of(ErrorKind::input, [&] { load_parameters(f / "nan.safetensors", target); }), "'net.scale' holds a value that is not finite"));
  CHECK(d[0].data()[0] == 100);
  load_parameters(f / "nan.safetensors", target, false);
  CHECK(d[0].data()[0] == 1);
  CHECK(std::isnan(d[1].data()[2]));
  // Names.
  other = saved;
  other[1].name = "net.weight";
  CHECK(has(error_of(ErrorKind::usage, [&] { save_parameters(f / "y", other); }), "parameters.name"));
  other[1].name = "__metadata__";
  CHECK(has(error_of(ErrorKind::usage, [&] { save_parameters(f / "y", other); }), "parameters.name"));
  CHECK_FALSE(exists(f / "y"));
  CHECK(has(error_of(ErrorKind::io, [&] { save_parameters(f / "no/y", saved); }), "file.write"));
}

}  // namespace bam::safetensors_test
