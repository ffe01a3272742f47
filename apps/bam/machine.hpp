// What this machine has: processor and memory.
#pragma once
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>

namespace bam::app {

// The value of the first line "key : value" of a /proc file; "" when there is none.
inline std::string proc_value(const char* path, std::string_view key) {
  std::string found;
  std::FILE* f = std::fopen(path, "r");
  if (!f) return found;
  char line[4096];
  while (found.empty() && std::fgets(line, sizeof line, f)) {
    std::string_view s(line);
    if (!s.starts_with(key)) continue;
    std::size_t colon = s.find(':');
    if (colon == s.npos) continue;
    s.remove_prefix(colon + 1);
    while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
    while (!s.empty() && (s.back() == '\n' || s.back() == ' ')) s.remove_suffix(1);
    found = s;
  }
  std::fclose(f);
  return found;
}

inline std::int64_t memory_bytes() {
  return static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::int64_t>(sysconf(_SC_PAGESIZE));
}

// Bytes that a process may still take: the smaller of the system's and, where one is set, the control group's.
inline std::int64_t memory_available() {
  std::int64_t bytes = INT64_MAX;
  std::ifstream info("/proc/meminfo");
  for (std::string key; info >> key;) {
    std::int64_t value = 0;
    if (key == "MemAvailable:" && info >> value) bytes = value * 1024;
    std::getline(info, key);
  }
  std::ifstream limit_file("/sys/fs/cgroup/memory.max"), used_file("/sys/fs/cgroup/memory.current");
  std::int64_t limit = 0, used = 0;
  if (limit_file >> limit && used_file >> used) bytes = std::min(bytes, limit - used);
  return bytes;
}

}  // namespace bam::app
