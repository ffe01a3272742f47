# make demo    install what is missing, build, train BAM and its baselines on generated text, end in a report
# make test    the same for the tests
PRESET ?= release
JOBS ?= $(shell nproc)
BUILD = build/$(PRESET)

.PHONY: demo test build deps bench emulated check-all sanitize clean

demo: deps
	cmake --preset $(PRESET) > /dev/null
	cmake --build $(BUILD) -j $(JOBS) --target bam_app
	$(BUILD)/bam study bam --preset demo --out build/demo

test: build
	ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)

build: deps
	cmake --preset $(PRESET) > /dev/null
	cmake --build $(BUILD) -j $(JOBS)

deps:
	third_party/install.sh

bench: deps
	cmake --preset release -DBAM_BENCH=ON > /dev/null
	cmake --build build/release -j $(JOBS)
	build/release/bench/kernels_bench

# build/emulated/bam: --device cuda runs the CUDA kernels on the CPU, thread by thread. A proof, and slow.
emulated: deps
	cmake --preset emulated > /dev/null
	cmake --build build/emulated -j $(JOBS) --target bam_app

# The subset of the tests that is marked for it, under AddressSanitizer and UndefinedBehaviorSanitizer.
sanitize: deps
	cmake --preset asan-ubsan -DBAM_SANITIZED_SUBSET=ON > /dev/null
	cmake --build build/asan-ubsan -j $(JOBS) --target bam_tests
	ctest --test-dir build/asan-ubsan --output-on-failure -L sanitize -j $(JOBS)

# Everything: all tests under every preset and compiler, and the long runs.
check-all: deps
	scripts/check_all.sh

clean:
	rm -rf build
