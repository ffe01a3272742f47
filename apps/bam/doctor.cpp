// bam doctor: what this machine has, and whether the kernels compute right on it.
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <thread>

#include "bam/cpu/peak.hpp"
#include "bam/tensor/device.hpp"
#include "flags.hpp"
#include "machine.hpp"
#include "output.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

constexpr cpu::Isa all_isas[] = {cpu::Isa::base, cpu::Isa::avx2, cpu::Isa::avx512};

struct SelfTest {
  bool ok = true;
  double worst = 0;      // relative error against double
  std::string failure;   // what differs
};

// One GEMM of awkward size on every instruction set: against double, and bit for bit against each other.
SelfTest gemm_self_test() {
  const std::int64_t M = 37, N = 51, K = 129;
  auto fill = [](std::size_t n, std::uint32_t x) {
    std::vector<float> v(n);
    for (float& f : v) {
      x = x * 1664525u + 1013904223u;
      f = static_cast<float>(static_cast<int>(x >> 8) - (1 << 23)) / static_cast<float>(1 << 23);
    }
    return v;
  };
  auto A = fill(static_cast<std::size_t>(M * K), 1), B = fill(static_cast<std::size_t>(K * N), 2);
  std::vector<float> first;
  SelfTest test;
  for (cpu::Isa isa : all_isas) {
    if (!cpu::supported(isa)) continue;
    std::vector<float> C(static_cast<std::size_t>(M * N), -1.0f);
    GemmArgs a;
    a.M = M, a.N = N, a.K = K;
    a.A = A.data(), a.lda = K, a.B = B.data(), a.ldb = N, a.C = C.data(), a.ldc = N;
    cpu::table(isa).gemm(cpu::pool().exec(), a);
    for (std::int64_t i = 0; i < M; ++i)
      for (std::int64_t j = 0; j < N; ++j) {
        double sum = 0, size = 0;
        for (std::int64_t k = 0; k < K; ++k) {
          double p = static_cast<double>(A[static_cast<std::size_t>(i * K + k)]) * static_cast<double>(B[static_cast<std::size_t>(k * N + j)]);
          sum += p;
          size += std::fabs(p);
        }
        double error = std::fabs(sum - static_cast<double>(C[static_cast<std::size_t>(i * N + j)])) / size;
        if (!(error <= test.worst)) test.worst = error;
        if (!(error < 1e-5) && test.ok) {
          test.ok = false;
          test.failure = str("gemm on ", cpu::name_of(isa), ": element (", i, ", ", j, ") is off by ", error);
        }
      }
    if (first.empty()) first = C;
    if (std::memcmp(first.data(), C.data(), C.size() * sizeof(float)) != 0 && test.ok) {
      test.ok = false;
      test.failure = str("gemm on ", cpu::name_of(isa), ": other bits than on base");
    }
  }
  return test;
}

void doctor(const Common& common) {
  std::string isas;
  io::Json supported = io::Json::array();
  for (cpu::Isa isa : all_isas)
    if (cpu::supported(isa)) {
      isas += str(isas.empty() ? "" : ", ", cpu::name_of(isa));
      supported.push_back(cpu::name_of(isa));
    }
  const std::string processor = proc_value("/proc/cpuinfo", "model name");
  const std::string missing = unavailable(Device::cuda);
  const SelfTest test = gemm_self_test();
  const double rate = cpu::peak_flops(cpu::isa(), 200);
  const auto cores = static_cast<std::int64_t>(std::thread::hardware_concurrency());
#ifdef __clang__
  const std::string compiler = "clang " __clang_version__;
#else
  const std::string compiler = "g++ " __VERSION__;
#endif
  const std::string result = test.ok ? "ok" : test.failure;
  if (common.json) {
    print_json(io::Json::object({{"version", version},
                                 {"compiler", compiler},
                                 {"processor", processor},
                                 {"processors", cores},
                                 {"threads", cpu::pool().workers()},
                                 {"memory_bytes", memory_bytes()},
                                 {"isa", cpu::name_of(cpu::isa())},
                                 {"isa_supported", supported},
                                 {"cuda", missing.empty()},
                                 {"cuda_missing", missing},
                                 {"peak_flops_per_second", rate},
                                 {"self_test", result},
                                 {"self_test_error", test.worst}}));
  } else {
    Table t;
    auto line = [&](const char* key, const std::string& value) { t.rows.push_back({str(key, std::string(14 - std::strlen(key), ' '), value)}); };
    line("version", str(version, ", ", compiler));
    line("processor", str(printable(processor), ", ", cores, " in use: ", cpu::pool().workers()));
    line("memory", bytes_text(memory_bytes()));
    line("isa", str(cpu::name_of(cpu::isa()), " (supported: ", isas, "; BAM_ISA chooses)"));
    line("cuda", missing.empty() ? "present" : "absent: " + missing);
    line("peak", str(std::round(rate / 1e8) / 10, " GFLOP/s, fp32"));
    line("self-test", result);
    print(t.text());
  }
  if (!test.ok) fail(ErrorKind::numerics, "doctor.self_test", "doctor: ", test.failure, "; do not trust results of this machine and build");
}

}  // namespace

void add_doctor(CLI::App& app, Common& common) {
  CLI::App* sub = app.add_subcommand("doctor", "The machine, its instruction sets, CUDA, versions, and a self-test");
  sub->callback([&common] { common.run = [&common] { doctor(common); }; });
}

}  // namespace bam::app
