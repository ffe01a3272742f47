// The one file layer: whole-file reads, read-only maps, atomic writes, staged folders, locks, append-only lines.
//
// What is written under its final name is complete and synced: a temporary name in the same folder, fsync, rename,
// fsync of the folder. After a failed fsync the attempt is void; nothing is retried on the same descriptor.
// Errors: a file to read that is missing or no regular file is kind input, everything else (disk full, permission,
// any failed write) is kind io. Paths are escaped in messages.
#pragma once
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bam/core/error.hpp"

namespace bam::io {

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline std::string join(const std::string& folder, std::string_view name) {
  if (folder.empty()) return std::string(name);
  return folder.back() == '/' ? str(folder, name) : str(folder, "/", name);
}
inline std::string folder_of(const std::string& path) {
  std::size_t i = path.rfind('/');
  if (i == path.npos) return ".";
  return i == 0 ? "/" : path.substr(0, i);
}
inline std::string name_of_file(const std::string& path) {
  std::size_t i = path.rfind('/');
  return i == path.npos ? path : path.substr(i + 1);
}

namespace detail {
inline std::string shown(const std::string& path) { return path.empty() ? "(empty path)" : printable(path, 1000); }
inline const char* reason(int error) {
  const char* text = strerrordesc_np(error);  // the same in every language and thread
  return text ? text : "unknown error";
}
[[noreturn]] inline void fail_read(const std::string& path, int error) {
  bool absent = error == ENOENT || error == ENOTDIR || error == ELOOP || error == ENAMETOOLONG || error == EINVAL;
  fail(absent ? ErrorKind::input : ErrorKind::io, absent ? "file.missing" : "file.read", shown(path),
       ": wanted a file to read, got: ", reason(error), "; check the path and its permissions");
}
[[noreturn]] inline void fail_write(const std::string& path, int error, std::size_t wanted = 0) {
  std::string more;
  struct statvfs fs;
  if ((error == ENOSPC || error == EDQUOT) && ::statvfs(folder_of(path).c_str(), &fs) == 0)
    more = str(" (", wanted, " bytes to write, ", static_cast<std::uint64_t>(fs.f_bavail) * fs.f_frsize,
               " free); free some space and start again");
  fail(ErrorKind::io, "file.write", shown(path), ": cannot write: ", reason(error), more);
}

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// A NUL inside would cut the path that the system sees.
inline bool has_nul(const std::string& path) { return path.find('\0') != path.npos; }

inline Descriptor open(const std::string& path, int flags, int& error) {
  error = 0;
  if (path.empty() || has_nul(path)) {
    error = path.empty() ? ENOENT : EINVAL;
    return Descriptor();
  }
  int fd;
  do fd = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  while (fd < 0 && errno == EINTR);
  if (fd < 0) error = errno;
  return Descriptor(fd);
}

inline const char* kind_of_mode(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a named pipe";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "no regular file";
}

// Non-blocking, so that a pipe without a writer cannot hang us before fstat tells what it is.
inline Descriptor open_regular(const std::string& path, std::uint64_t& size) {
  int error;
  Descriptor fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY, error);
  if (fd.get() < 0 && error == ENXIO)
    fail(ErrorKind::input, "file.kind", shown(path), ": wanted a regular file, this is a socket or an absent device");
  if (fd.get() < 0) fail_read(path, error);
  struct stat s;
  if (::fstat(fd.get(), &s) != 0) fail_read(path, errno);
  if (!S_ISREG(s.st_mode))
    fail(ErrorKind::input, "file.kind", shown(path), ": wanted a regular file, this is ", kind_of_mode(s.st_mode));
  size = static_cast<std::uint64_t>(s.st_size);
  return fd;
}

inline std::size_t read_some(int fd, char* to, std::size_t n, const std::string& path) {
  for (;;) {
    ssize_t got = ::read(fd, to, n);
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) fail(ErrorKind::io, "file.read", shown(path), ": cannot read: ", reason(errno));
  }
}

inline void write_all(int fd, std::span<const std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    ssize_t put = ::write(fd, bytes.data(), std::min<std::size_t>(bytes.size(), std::size_t{1} << 30));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail_write(path, errno, bytes.size());
    if (put == 0) fail_write(path, ENOSPC, bytes.size());
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
}

inline void sync(int fd, const std::string& path) {
  int r;
  do r = ::fsync(fd);
  while (r != 0 && errno == EINTR);
  if (r != 0) fail_write(path, errno);
}

inline void sync_path(const std::string& path, int flags) {
  int error;
  Descriptor fd = open(path, O_RDONLY | flags, error);
  if (fd.get() < 0) fail_write(path, error);
  sync(fd.get(), path);
}
inline void sync_folder(const std::string& path) { sync_path(path, O_DIRECTORY); }

// Hidden, and unlike that of any other writer that is alive.
inline std::string temporary_name(const std::string& path) {
  static std::atomic<unsigned> counter{0};
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  std::string name = name_of_file(path);
  std::size_t keep = std::min<std::size_t>(name.size(), 180);  // file names have at most 255 bytes
  return join(folder_of(path), str(".", std::string_view(name).substr(0, keep), ".tmp-", ::getpid(), "-", now.tv_nsec, "-", counter++));
}

inline void check_output_path(const std::string& path) {
  std::string name = name_of_file(path);
  if (name.empty() || name == "." || name == ".." || has_nul(path))
    fail(ErrorKind::io, "file.path", shown(path), ": wanted a path that ends in a name");
}
}  // namespace detail

// The whole file. More than max_bytes is refused (kind input).
inline std::string read_file(const std::string& path, std::uint64_t max_bytes = std::uint64_t{1} << 32) {
  std::uint64_t size;
  detail::Descriptor fd = detail::open_regular(path, size);
  auto too_large = [&](std::uint64_t n) {
    fail(ErrorKind::input, "file.size", detail::shown(path), ": at most ", max_bytes, " bytes are read here, the file has ", n);
  };
  if (size > max_bytes) too_large(size);
  std::string text;
  // Grows with what is read, not with what the size says; the one byte more finds the end without a further call.
  std::size_t have = 0;
  for (;;) {
    if (have == text.size()) {
      if (have > max_bytes) too_large(have);
      std::size_t next = have == 0 ? static_cast<std::size_t>(size) + 1 : have + std::max<std::size_t>(have / 2, 4096);
      text.resize(std::min(next, static_cast<std::size_t>(std::min<std::uint64_t>(max_bytes, SIZE_MAX - 1)) + 1));
    }
    std::size_t got = detail::read_some(fd.get(), text.data() + have, text.size() - have, path);
    if (got == 0) break;
    have += got;
  }
  if (have > max_bytes) too_large(have);
  text.resize(have);
  return text;
}

// The content of one or more zstd frames, at most max_bytes of it.
inline std::string decompress_zstd(std::string_view packed, const std::string& where,
                                   std::uint64_t max_bytes = std::uint64_t{1} << 32) {
  std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  if (!context) throw std::bad_alloc();
  std::string out;
  std::vector<char> buffer(ZSTD_DStreamOutSize());
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  std::size_t state = packed.empty() ? 1 : 0;  // 0: between two frames
  for (bool full = false; in.pos < in.size || full;) {
    ZSTD_outBuffer to{buffer.data(), buffer.size(), 0};
    state = ZSTD_decompressStream(context.get(), &to, &in);
    if (ZSTD_isError(state))
      fail(ErrorKind::input, "file.zstd", detail::shown(where), ": wanted zstd data, at byte ", in.pos, ": ", ZSTD_getErrorName(state));
    full = to.pos == to.size;
    if (to.pos > max_bytes - out.size())
      fail(ErrorKind::input, "file.size", detail::shown(where), ": unpacks to more than the ", max_bytes, " bytes read here");
    out.append(buffer.data(), to.pos);
    if (state == 0 && in.pos == in.size) break;
  }
  if (state != 0)
    fail(ErrorKind::input, "file.zstd", detail::shown(where), ": wanted whole zstd frames, the file is cut after byte ", packed.size());
  return out;
}

// read_file, unpacked when the name ends in .zst.
inline std::string read_text(const std::string& path, std::uint64_t max_bytes = std::uint64_t{1} << 32) {
  std::string text = read_file(path, max_bytes);
  return path.ends_with(".zst") ? decompress_zstd(text, path, max_bytes) : text;
}

// A regular file mapped read-only. A file that another process shortens meanwhile ends the process (SIGBUS): our own
// files are replaced by rename and never shortened.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::string& path) {
    std::uint64_t size;
    detail::Descriptor fd = detail::open_regular(path, size);
    if (size == 0) return;
    if (size > SIZE_MAX / 2) fail(ErrorKind::limit, "file.map", detail::shown(path), ": ", size, " bytes are too many to map");
    void* p = ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (p == MAP_FAILED)
      fail(errno == ENOMEM ? ErrorKind::limit : ErrorKind::io, "file.map", detail::shown(path), ": cannot map ", size,
           " bytes: ", detail::reason(errno));
    data_ = static_cast<const std::byte*>(p);
    size_ = static_cast<std::size_t>(size);
  }
  MappedFile(MappedFile&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~MappedFile() {
    if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
  }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return text_of(bytes()); }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// A new file under its own name. Until finish() has returned, it counts as unwritten and the destructor removes it.
class OutputFile {
 public:
  explicit OutputFile(std::string path) : path_(std::move(path)) {
    detail::check_output_path(path_);
    int error;
    fd_ = detail::open(path_, O_WRONLY | O_CREAT | O_EXCL, error);
    if (fd_.get() < 0) detail::fail_write(path_, error);
  }
  OutputFile(OutputFile&& other) noexcept : path_(std::exchange(other.path_, {})), fd_(std::move(other.fd_)) {}
  ~OutputFile() {
    if (fd_.get() >= 0) ::unlink(path_.c_str());
  }
  void write(std::span<const std::byte> bytes) { detail::write_all(fd_.get(), bytes, path_); }
  void write(std::string_view text) { write(bytes_of(text)); }
  void finish() {
    detail::sync(fd_.get(), path_);
    if (::close(fd_.release()) != 0) {
      int error = errno;
      ::unlink(path_.c_str());
      detail::fail_write(path_, error);
    }
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  detail::Descriptor fd_;
};

// A file that appears whole, or not at all: write() as often as needed, then commit(). Replaces a file of that name.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path) : path_(std::move(path)), file_(temporary(path_)) {}
  AtomicFile(AtomicFile&&) = default;
  ~AtomicFile() {
    if (finished_ && !committed_) ::unlink(file_.path().c_str());
  }
  void write(std::span<const std::byte> bytes) { file_.write(bytes); }
  void write(std::string_view text) { file_.write(text); }
  void commit() {
    file_.finish();
    finished_ = true;
    if (::rename(file_.path().c_str(), path_.c_str()) != 0) detail::fail_write(path_, errno);
    committed_ = true;
    detail::sync_folder(folder_of(path_));
  }

 private:
  std::string path_;
  OutputFile file_;
  bool finished_ = false, committed_ = false;

  static std::string temporary(const std::string& path) {
    detail::check_output_path(path);
    struct stat s;
    if (::stat(path.c_str(), &s) == 0 && !S_ISREG(s.st_mode))
      fail(ErrorKind::io, "file.kind", detail::shown(path), ": wanted to write a file, this is ", detail::kind_of_mode(s.st_mode));
    return detail::temporary_name(path);
  }
};

inline void write_file_atomic(const std::string& path, std::span<const std::byte> bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}
inline void write_file_atomic(const std::string& path, std::string_view text) { write_file_atomic(path, bytes_of(text)); }

inline bool exists(const std::string& path) {
  struct stat s;
  return !path.empty() && !detail::has_nul(path) && ::stat(path.c_str(), &s) == 0;
}
inline bool is_folder(const std::string& path) {
  struct stat s;
  return !path.empty() && !detail::has_nul(path) && ::stat(path.c_str(), &s) == 0 && S_ISDIR(s.st_mode);
}

// Whether path is that folder or lies in it, whatever the names; neither need be there.
inline bool lies_in(const std::string& path, const std::string& folder) {
  std::error_code ignored;
  auto real = [&](const std::string& p) { return std::filesystem::weakly_canonical(std::filesystem::absolute(p, ignored), ignored); };
  const std::filesystem::path inner = real(path), outer = real(folder);
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

// The folder with all above it; one that is there already is fine. Something else of that name: kind io.
inline void make_folder(const std::string& path) {
  if (path.empty() || detail::has_nul(path)) fail(ErrorKind::io, "file.path", detail::shown(path), ": wanted the path of a folder");
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) detail::fail_write(path, error.value());
  if (!is_folder(path)) detail::fail_write(path, ENOTDIR);
}

// A path that a file names: looked for beside that file, then in the current folder; absolute. Empty stays empty.
inline std::string path_beside(const std::string& file, const std::string& path) {
  if (path.empty()) return path;
  std::filesystem::path given(path), beside = std::filesystem::path(file).parent_path() / given;
  std::error_code ignored;
  return std::filesystem::absolute(given.is_relative() && std::filesystem::exists(beside, ignored) ? beside : given).lexically_normal().string();
}

// The regular files right in a folder whose names end in one of the suffixes (none given: all), sorted by name in
// byte order. Hidden names (unfinished files too) are left out.
inline std::vector<std::string> list_files(const std::string& folder, const std::vector<std::string>& suffixes = {}) {
  std::error_code error;
  if (detail::has_nul(folder)) detail::fail_read(folder, EINVAL);
  std::filesystem::directory_iterator it(folder, error), end;
  if (error) detail::fail_read(folder, error.value());
  std::vector<std::string> names;
  while (it != end) {
    std::string name = it->path().filename().string();
    bool wanted = suffixes.empty() || std::any_of(suffixes.begin(), suffixes.end(), [&](auto& s) { return name.ends_with(s); });
    std::error_code ignored;
    if (wanted && name[0] != '.' && it->is_regular_file(ignored)) names.push_back(name);
    it.increment(error);
    if (error) fail(ErrorKind::io, "file.read", detail::shown(folder), ": cannot list: ", detail::reason(error.value()));
  }
  std::sort(names.begin(), names.end());
  for (std::string& name : names) name = join(folder, name);
  return names;
}

// A folder that appears complete or not at all. Files are written under path(), then commit() syncs everything and
// renames. An existing folder of that name is an error (kind io), unless it holds the file `marker`, by which we know one that we
// wrote: then it gives way.
class StagedDirectory {
 public:
  explicit StagedDirectory(std::string final_path, std::string marker = {}) : final_(std::move(final_path)), marker_(std::move(marker)) {
    while (final_.size() > 1 && final_.back() == '/') final_.pop_back();
    detail::check_output_path(final_);
    refuse_existing();
    make_folder(folder_of(final_));
    path_ = detail::temporary_name(final_);
    if (::mkdir(path_.c_str(), 0777) != 0) detail::fail_write(path_, errno);
  }
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;
  ~StagedDirectory() {
    std::error_code ignored;
    if (!committed_) std::filesystem::remove_all(path_, ignored);
  }
  // Where the files go until commit().
  const std::string& path() const { return path_; }
  std::string path_of(std::string_view name) const { return join(path_, name); }
  // name: relative, may hold folders, which are made. The caller finishes the file.
  OutputFile create(std::string_view name) const {
    std::string path = path_of(name);
    if (folder_of(path) != path_) make_folder(folder_of(path));
    return OutputFile(path);
  }
  void write(std::string_view name, std::span<const std::byte> bytes) const {
    OutputFile file = create(name);
    file.write(bytes);
    file.finish();
  }
  void write(std::string_view name, std::string_view text) const { write(name, bytes_of(text)); }
  void commit() {
    sync_tree();
    refuse_existing();
    if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, final_.c_str(), RENAME_NOREPLACE) == 0) {
      committed_ = true;
    } else if (errno == EEXIST && !marker_.empty()) {
      // Where the file system can swap two names there is no moment without a folder.
      if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, final_.c_str(), RENAME_EXCHANGE) != 0) {
        std::string old = detail::temporary_name(final_);
        if (::rename(final_.c_str(), old.c_str()) != 0) detail::fail_write(final_, errno);
        if (::rename(path_.c_str(), final_.c_str()) != 0) {
          int error = errno;
          (void)::rename(old.c_str(), final_.c_str());
          detail::fail_write(final_, error);
        }
        path_ = old;
      }
      committed_ = true;
      detail::sync_folder(folder_of(final_));
      std::error_code ignored;
      std::filesystem::remove_all(path_, ignored);
    } else if (errno == EINVAL || errno == ENOSYS) {  // no such flag here; rename still refuses a folder with content
      if (::rename(path_.c_str(), final_.c_str()) != 0) detail::fail_write(final_, errno);
      committed_ = true;
    } else {
      detail::fail_write(final_, errno);
    }
    detail::sync_folder(folder_of(final_));
  }

 private:
  std::string final_, marker_, path_;
  bool committed_ = false;

  void refuse_existing() const {
    struct stat s;
    if (::lstat(final_.c_str(), &s) != 0) return;
    if (marker_.empty() || !S_ISDIR(s.st_mode))
      fail(ErrorKind::io, "file.exists", detail::shown(final_), ": wanted a new folder, this is there already; choose another name");
    if (!exists(join(final_, marker_)))
      fail(ErrorKind::io, "file.exists", detail::shown(final_), ": is there already and holds no ", marker_, ", so it is not ours to replace; choose another name");
  }
  // Files that somebody else put there are synced too.
  void sync_tree() const {
    std::error_code error;
    for (std::filesystem::recursive_directory_iterator it(path_, error), end; !error && it != end; it.increment(error)) {
      if (it->is_symlink()) continue;
      if (it->is_directory()) detail::sync_folder(it->path().string());
      if (it->is_regular_file()) detail::sync_path(it->path().string(), 0);
    }
    if (error) detail::fail_write(path_, error.value());
    detail::sync_folder(path_);
  }
};

// Holds DIR/run.lock as long as it lives. The kernel drops the lock with the process, so a killed run leaves a file
// but no lock. A second holder gets kind locked, and the first one's pid, host and time.
class FileLock {
 public:
  explicit FileLock(const std::string& folder) {
    std::string path = join(folder, "run.lock");
    int error;
    fd_ = detail::open(path, O_RDWR | O_CREAT | O_NONBLOCK, error);
    if (fd_.get() < 0) detail::fail_write(path, error);
    int r;
    do r = ::flock(fd_.get(), LOCK_EX | LOCK_NB);
    while (r != 0 && errno == EINTR);
    if (r != 0 && errno == EWOULDBLOCK) {
      char text[512];
      ssize_t n = ::pread(fd_.get(), text, sizeof text, 0);
      std::string holder(text, n > 0 ? static_cast<std::size_t>(n) : 0);
      while (!holder.empty() && holder.back() == '\n') holder.pop_back();
      fail(ErrorKind::locked, "run.locked", detail::shown(folder), ": in use by ", holder.empty() ? "another run" : printable(holder),
           "; wait for it or choose another folder");
    }
    if (r != 0) detail::fail_write(path, errno);
    char host[256] = "";
    (void)::gethostname(host, sizeof host - 1);
    std::time_t now = std::time(nullptr);
    std::tm utc{};
    ::gmtime_r(&now, &utc);
    char date[32];
    std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    if (::ftruncate(fd_.get(), 0) != 0) detail::fail_write(path, errno);
    detail::write_all(fd_.get(), bytes_of(str("pid ", ::getpid(), " on ", static_cast<const char*>(host), " since ",
                                              static_cast<const char*>(date), "\n")), path);
  }

 private:
  detail::Descriptor fd_;
};

// Appends lines to a log such as metrics.jsonl, one write each, so that a reader sees whole lines. A torn last line
// (of a run that was killed) is cut off on opening. keep: bytes of the old file to keep, for a resumed run.
class LineWriter {
 public:
  explicit LineWriter(std::string path, std::uint64_t keep = UINT64_MAX) : path_(std::move(path)) {
    detail::check_output_path(path_);
    int error;
    fd_ = detail::open(path_, O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK, error);
    if (fd_.get() < 0) detail::fail_write(path_, error);
    struct stat s;
    if (::fstat(fd_.get(), &s) != 0) detail::fail_write(path_, errno);
    if (!S_ISREG(s.st_mode))
      fail(ErrorKind::io, "file.kind", detail::shown(path_), ": wanted a file for lines, this is ", detail::kind_of_mode(s.st_mode));
    auto old = static_cast<std::uint64_t>(s.st_size);
    size_ = std::min(old, keep);
    char buffer[4096];
    while (size_ > 0) {
      std::uint64_t from = size_ - std::min<std::uint64_t>(size_, sizeof buffer);
      ssize_t n = ::pread(fd_.get(), buffer, static_cast<std::size_t>(size_ - from), static_cast<off_t>(from));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) fail(ErrorKind::io, "file.read", detail::shown(path_), ": cannot read: ", detail::reason(n < 0 ? errno : EIO));
      std::size_t i = std::string_view(buffer, static_cast<std::size_t>(n)).rfind('\n');
      size_ = i == std::string_view::npos ? from : from + i + 1;
      if (i != std::string_view::npos) break;
    }
    if (size_ != old && ::ftruncate(fd_.get(), static_cast<off_t>(size_)) != 0) detail::fail_write(path_, errno);
  }
  // text without a line end inside or behind it.
  void line(std::string_view text) {
    check(text.find('\n') == text.npos, "file.line", detail::shown(path_), ": wanted one line, the text holds several");
    std::string whole(text);
    whole += '\n';
    detail::write_all(fd_.get(), bytes_of(whole), path_);
    size_ += whole.size();
  }
  void sync() { detail::sync(fd_.get(), path_); }
  // Bytes so far: what a checkpoint notes down and gives back as keep.
  std::uint64_t size() const { return size_; }

 private:
  std::string path_;
  detail::Descriptor fd_;
  std::uint64_t size_ = 0;
};

}  // namespace bam::io
