// The file layer: special files, atomic writes, staged folders, locks, torn lines, a full disk.
#include "bam/io/file.hpp"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cstdlib>

namespace bam::io_file_test {

using namespace bam::io;
using bam::Error;
using bam::ErrorKind;

namespace {
struct Folder {
  std::string path;
  Folder() {
    char name[] = "/tmp/bam_io_XXXXXX";
    if (!::mkdtemp(name)) std::abort();
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator/(const char* name) const { return join(path, name); }
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator()));
  }
};

template <class F>
std::string error_of(F f, ErrorKind kind) {
  try {
    f();
  } catch (const Error& e) {
    CHECK(e.kind() == kind);
    return e.id() + "|" + e.what();
  }
  return "";
}
bool has(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }
std::string pack(std::string_view text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}
}  // namespace

TEST_CASE("file: what is written is read") {
  Folder f;
  std::string bytes("a\0b\xff\n", 5);
  write_file_atomic(f / "x", bytes);
  CHECK(read_file(f / "x") == bytes);
  CHECK(MappedFile(f / "x").text() == bytes);
  write_file_atomic(f / "x", "new");
  CHECK(read_file(f / "x") == "new");
  write_file_atomic(f / "empty", "");
  CHECK(read_file(f / "empty").empty());
  CHECK(MappedFile(f / "empty").bytes().empty());
  CHECK(f.entries() == 2);
  CHECK(!read_file("/proc/self/stat").empty());  // its size says 0
  std::string large(3 << 20, 'q');
  write_file_atomic(f / "large", large);
  CHECK(read_file(f / "large") == large);
}

TEST_CASE("file: missing and special files are refused without hanging") {
  Folder f;
  auto read = [](std::string path) { return error_of([&] { read_file(path); }, ErrorKind::input); };
  auto map = [](std::string path) { return error_of([&] { MappedFile m(path); }, ErrorKind::input); };
  CHECK(has(read(f / "no"), "file.missing|" + (f / "no")));
  CHECK(has(read(""), "file.missing"));
  CHECK(has(read(f.path), "a folder"));
  CHECK(has(read(f / "no/deeper"), "file.missing"));
  CHECK(has(read(std::string(5000, 'x')), "file.missing"));
  CHECK(has(read(std::string("/dev/null\0x", 11)), "file.missing"));
  REQUIRE(::mkfifo((f / "pipe").c_str(), 0600) == 0);
  CHECK(has(read(f / "pipe"), "a named pipe"));
  CHECK(has(map(f / "pipe"), "a named pipe"));
  CHECK(has(read("/dev/zero"), "a device"));
  CHECK(has(map("/dev/zero"), "a device"));
  REQUIRE(::symlink("loop", (f / "loop").c_str()) == 0);
  CHECK(has(read(f / "loop"), "file.missing"));
  CHECK(has(read(f / "a\x1b[2Jb"), "\\x1b"));
}

TEST_CASE("file: the limit on bytes holds") {
  Folder f;
  write_file_atomic(f / "x", "12345");
  CHECK(read_file(f / "x", 5) == "12345");
  CHECK(has(error_of([&] { read_file(f / "x", 4); }, ErrorKind::input), "file.size"));
  CHECK(has(error_of([&] { read_file("/proc/self/stat", 3); }, ErrorKind::input), "file.size"));
}

TEST_CASE("file: zstd text") {
  Folder f;
  std::string text;
  for (int i = 0; i < 100000; ++i) text += bam::str("line ", i, "\n");
  std::string packed = pack(text);
  write_file_atomic(f / "t.jsonl.zst", packed);
  write_file_atomic(f / "t.jsonl", text);
  CHECK(read_text(f / "t.jsonl.zst") == text);
  CHECK(read_text(f / "t.jsonl") == text);
  CHECK(read_file(f / "t.jsonl.zst") == packed);
  write_file_atomic(f / "two.zst", pack("one ") + pack("two"));
  CHECK(read_text(f / "two.zst") == "one two");
  std::string small = pack("a small text");
  for (std::size_t n = 0; n < small.size(); ++n) {
    CAPTURE(n);
    CHECK(has(error_of([&] { decompress_zstd(small.substr(0, n), "z"); }, ErrorKind::input), "file.zstd"));
  }
  CHECK(has(error_of([&] { decompress_zstd(small + "junk", "z"); }, ErrorKind::input), "file.zstd"));
  CHECK(decompress_zstd(pack(""), "z").empty());
  // A bomb: 64 MiB in a few KB, refused at the limit.
  std::string bomb = pack(std::string(64 << 20, 'x'));
  CHECK(has(error_of([&] { decompress_zstd(bomb, "z", 1 << 20); }, ErrorKind::input), "file.size"));
  CHECK(decompress_zstd(bomb, "z", 64 << 20).size() == 64u << 20);
}

TEST_CASE("file: failed writes leave nothing and name the reason") {
  Folder f;
  CHECK(has(error_of([&] { write_file_atomic(f / "no/x", "a"); }, ErrorKind::io), "No such file"));
  CHECK(has(error_of([&] { write_file_atomic(f.path, "a"); }, ErrorKind::io), "a folder"));
  CHECK(has(error_of([&] { write_file_atomic("", "a"); }, ErrorKind::io), "file.path"));
  CHECK(has(error_of([&] { write_file_atomic("/dev/full", "a"); }, ErrorKind::io), "a device"));
  CHECK(has(error_of([&] { write_file_atomic("/proc/bam_x", "a"); }, ErrorKind::io), "file.write"));
  CHECK(has(error_of([&] { make_folder("/dev/null"); }, ErrorKind::io), "file.write"));
  {
    AtomicFile half(f / "half");
    half.write("abc");
  }
  {
    OutputFile half(f / "half");
    half.write("abc");
  }
  CHECK(f.entries() == 0);
}

TEST_CASE("file: a full disk is an error with the free bytes, and leaves the old file") {
  Folder f;
  write_file_atomic(f / "x", "old");
  std::string message = error_of([] { io::detail::write_all(io::detail::open("/dev/full", O_WRONLY, *std::make_unique<int>()).get(), bytes_of("abc"), "/dev/full"); },
                                 ErrorKind::io);
  CHECK(has(message, "No space left on device (3 bytes to write, "));
  // A file-size limit makes the write fall short, then fail.
  pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{5000, 5000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    int code = 1;
    try {
      write_file_atomic(f / "x", std::string(10000, 'n'));
    } catch (const Error& e) {
      code = e.kind() == ErrorKind::io ? 42 : 2;
    }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WEXITSTATUS(status) == 42);
  CHECK(read_file(f / "x") == "old");
  CHECK(f.entries() == 1);
}

TEST_CASE("file: a staged folder is complete or absent") {
  Folder f;
  {
    StagedDirectory s(f / "deep/step-1");
    s.write("a", "1");
    s.write("sub/b", "2");
    CHECK_FALSE(exists(f / "deep/step-1"));
    s.commit();
  }
  CHECK(read_file(f / "deep/step-1/a") == "1");
  CHECK(read_file(f / "deep/step-1/sub/b") == "2");
  {
    StagedDirectory s(f / "step-2");
    s.write("a", "1");
  }
  CHECK_FALSE(exists(f / "step-2"));
  CHECK(f.entries() == 1);
  CHECK(has(error_of([&] { StagedDirectory s(f / "deep/step-1"); }, ErrorKind::io), "file.exists"));
  {
    CHECK(has(error_of([&] { StagedDirectory s(f / "deep/step-1/", "absent"); }, ErrorKind::io), "file.exists"));
    StagedDirectory s(f / "deep/step-1/", "a");
    s.write("c", "3");
    s.commit();
  }
  CHECK(read_file(f / "deep/step-1/c") == "3");
  CHECK_FALSE(exists(f / "deep/step-1/a"));
  CHECK(list_files(f / "deep").empty());
  {
    StagedDirectory s(f / "late");
    make_folder(f / "late");
    CHECK(has(error_of([&] { s.commit(); }, ErrorKind::io), "file.exists"));
  }
  write_file_atomic(f / "file", "x");
  CHECK(has(error_of([&] { StagedDirectory s(f / "file", "MARKER"); }, ErrorKind::io), "file.exists"));
  CHECK(f.entries() == 3);
}

TEST_CASE("file: lists are sorted, filtered, without folders and hidden names") {
  Folder f;
  for (const char* name : {"b.jsonl", "a.jsonl", "B.txt", ".hidden.jsonl", "c.md"}) write_file_atomic(f / name, "x");
  make_folder(f / "d.jsonl");
  CHECK(list_files(f.path, {".jsonl", ".txt"}) == std::vector<std::string>{f / "B.txt", f / "a.jsonl", f / "b.jsonl"});
  CHECK(list_files(f.path).size() == 4);
  CHECK(has(error_of([&] { list_files(f / "no"); }, ErrorKind::input), "file.missing"));
}

TEST_CASE("file: what lies in a folder, by any name") {
  Folder f;
  make_folder(f / "a/b");
  std::filesystem::create_directory_symlink(f / "a/b", f / "link");
  for (const char* path : {"a", "a/", "a/new", "a/b/../b/new/x", "link/x"}) {
    CAPTURE(path);
    CHECK(lies_in(f / path, f / "a"));
  }
  for (const char* path : {"", "ab", "a/../c", "a/b/../../x"}) {
    CAPTURE(path);
    CHECK_FALSE(lies_in(f / path, f / "a"));
  }
}

TEST_CASE("file: one holder of a lock, named to the second; a dead one's is free") {
  Folder f;
  {
    FileLock lock(f.path);
    std::string message = error_of([&] { FileLock second(f.path); }, ErrorKind::locked);
    CHECK(has(message, bam::str("in use by pid ", ::getpid(), " on ")));
    CHECK(has(message, " since 2"));
  }
  FileLock again(f.path);
  Folder g;
  pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    FileLock held(g.path);
    ::kill(::getpid(), SIGKILL);
  }
  ::waitpid(child, nullptr, 0);
  REQUIRE(exists(g / "run.lock"));
  CHECK_NOTHROW(FileLock(g.path));
  CHECK(has(error_of([&] { FileLock x(g / "no"); }, ErrorKind::io), "file.write"));
}

TEST_CASE("file: lines are appended, torn ones cut, old ones kept as far as asked") {
  Folder f;
  std::uint64_t size = 0;
  {
    LineWriter w(f / "m.jsonl");
    w.line("{\"step\":1}");
    size = w.size();
    w.line("{\"step\":2}");
    CHECK_THROWS_AS(w.line("a\nb"), Error);
  }
  CHECK(read_file(f / "m.jsonl") == "{\"step\":1}\n{\"step\":2}\n");
  write_file_atomic(f / "m.jsonl", "{\"step\":1}\n{\"step\":2}\n{\"st");
  { LineWriter w(f / "m.jsonl"); }
  CHECK(read_file(f / "m.jsonl") == "{\"step\":1}\n{\"step\":2}\n");
  {
    LineWriter w(f / "m.jsonl", size);
    w.line("x");
    w.sync();
  }
  CHECK(read_file(f / "m.jsonl") == "{\"step\":1}\nx\n");
  write_file_atomic(f / "m.jsonl", "a\n" + std::string(9000, 'b'));
  { LineWriter w(f / "m.jsonl"); }
  CHECK(read_file(f / "m.jsonl") == "a\n");
  CHECK(has(error_of([] { LineWriter w("/dev/full"); }, ErrorKind::io), "a device"));
  CHECK(has(error_of([&] { LineWriter w(f / "no/m"); }, ErrorKind::io), "file.write"));
}

}  // namespace bam::io_file_test
