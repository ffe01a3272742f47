// The compiled form of the CPU backend: built three times, with BAM_COMPILE_LEVEL 0, 1 and 2.
#define BAM_COMPILED
#define BAM_COMPILING
#include "backend.hpp"
#define BAM_LEVEL BAM_COMPILE_LEVEL
#include "isa.inl"
