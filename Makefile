# The door: installs what is missing, builds, and runs. CMake does the work (see CMakePresets.json).
#
#   make            build            make demo      the whole way on the embedded model
#   make test       build and test   make bench     print speeds
#   make install    PREFIX=/usr/local, DESTDIR=     make asan, make tsan   test under sanitizers
#   make docs       the headers as HTML

BUILD  := build/release
UMBRA  := $(BUILD)/src/cli/umbra
PREFIX ?= /usr/local
MODEL  := models/tiny-q8_0.gguf

.PHONY: build deps demo test bench asan tsan install docs format clean

build: deps
	@cmake --preset release >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@cmake --build --preset release

deps:
	@scripts/install-deps.sh
	@mkdir -p build

demo: build
	@$(UMBRA) demo

test:
	@scripts/install-deps.sh test
	@$(MAKE) --no-print-directory build
	@ctest --preset release

bench: build
	$(BUILD)/bench/bench_engine $(MODEL) $(wildcard ../shared/models/lab-q4_0.gguf)

asan tsan: deps
	@cmake --preset $@ >build/$@.log 2>&1 || { cat build/$@.log; exit 1; }
	@cmake --build --preset $@
	@ctest --preset $@

install: build
	DESTDIR=$(DESTDIR) cmake --install $(BUILD) --prefix $(PREFIX)

docs:
	@scripts/install-deps.sh docs
	@mkdir -p build
	@cmake --preset release >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@cmake --build --preset release --target docs
	@echo "$(BUILD)/doxygen/html/index.html"

format:
	@clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf build
