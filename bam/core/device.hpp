// Where a tensor's memory lies, and its kernels run.
#pragma once
#include <cstdint>

namespace bam {

enum class Device : std::uint8_t { cpu, cuda };

constexpr const char* name_of(Device d) { return d == Device::cpu ? "cpu" : "cuda"; }

}  // namespace bam
