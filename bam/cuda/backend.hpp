// The CUDA backend: every row of the contract by kernels of our own, portable ones with the bits of the CPU's and faster ones (path.cuh), and the device that they run on. backend.cu has the kernels and
// is compiled by nvcc, or by the host's compiler for the emulation, on which the same kernels run on the CPU (emulator.hpp). The device is runtime.cu's or, emulated,
// emulated_device.cpp's. Nothing here needs the toolkit.
#pragma once
#include <memory>
#include <string>

#include "../kernels.hpp"

namespace bam::cuda {

extern const KernelTable table;  // pointers in args structs are the device's

// One device a process, the first; one stream, on which kernels and copies follow each other, and a second one beside it while there are branches.
std::string unavailable();           // why no kernel can run here; empty: they can
std::string describe();              // what it is, for people
bool emulated();                     // whether it is the CPU in truth
std::int64_t memory_available();     // bytes that can still be allocated
Exec execution();                    // its stream and scratch memory
void* allocate(std::int64_t bytes);  // null: there is no more
void release(void* p);
inline bool (*give_back)() = nullptr;  // set by who keeps released memory: returns it by release(), and says whether there was any; asked before memory of the backend's own is refused
// rows times width bytes, rows at distances of pitch bytes. On return the host may read what came, and change what it sent.
enum class Way : std::uint8_t { to_device, to_host, within };
void copy(Way way, void* to, std::int64_t to_pitch, const void* from, std::int64_t from_pitch, std::int64_t width, std::int64_t rows);
void synchronize();  // with what the branch was told, or all
// Kernels and copies that follow belong to branch 1 or 2, which wait for what came before the first of both and not for each other; 0: to none, after both.
void enter_branch(int branch);

// What the stream is told between begin_recording() and end_recording(): kernels, and copies within the device. It is not run then, but by replay(), as often as wanted, at the same addresses. A CUDA graph; on the
// emulation a list. In between, nothing is copied to or from the host, and memory is taken but not given back.
struct Recording;
void begin_recording();
std::shared_ptr<Recording> end_recording();
void abandon_recording();             // after an error
bool replay(const Recording& what);   // false: scratch memory that it uses is no longer there
// On the emulation, Error(internal): a pointer in an args struct is not the device's. The bytes between its members are 0.
void check_arguments(const void* args, std::size_t bytes);

// What a profiler shows of the launches within: an NVTX range, named like the row. Does nothing on the emulation.
struct Range {
  explicit Range(const char* name);
  ~Range();
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;
};

}  // namespace bam::cuda
