# The door: installs what is missing, builds, and runs. CMake does the work (see CMakePresets.json).
#
#   make            build            make demo      the whole way on the embedded model
#   make test       all that a change must pass: format, both compilers, the tests, sanitizers
#   make check      the tests alone  make bench     print speeds
#   make install    PREFIX=/usr/local, DESTDIR=     make asan, make tsan   test under sanitizers
#   make docs       the headers as HTML             make fuzz SECONDS=60 [TARGET=fuzz_gguf]
#   make lint       clang-tidy and cppcheck         make coverage   lines that no test comes to
#   make memcheck   the short tests under valgrind

BUILD  := build/release
UMBRA  := $(BUILD)/src/cli/umbra
PREFIX ?= /usr/local
MODEL  := models/tiny-q8_0.gguf

.PHONY: build deps demo test check bench asan tsan fuzz lint coverage memcheck install docs format clean

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
	@scripts/test-all.sh

check:
	@scripts/install-deps.sh test
	@scripts/test-all.sh suite

bench: build
	$(BUILD)/bench/bench_engine $(MODEL) $(wildcard ../shared/models/lab-q4_0.gguf)

asan tsan:
	@scripts/install-deps.sh test
	@scripts/test-all.sh $@

fuzz:
	@scripts/install-deps.sh test
	@mkdir -p build
	@cmake --preset fuzz >build/fuzz.log 2>&1 || { cat build/fuzz.log; exit 1; }
	@cmake --build --preset fuzz --target fuzz_targets
	@scripts/fuzz.sh $(or $(SECONDS),60) $(TARGET)

lint: build
	@scripts/install-deps.sh lint
	@scripts/lint.sh $(BUILD)

# Which lines of src no test comes to: build/coverage/report.txt, and as pages.
coverage:
	@scripts/install-deps.sh lint
	@mkdir -p build
	@cmake --preset coverage >build/coverage.log 2>&1 || { cat build/coverage.log; exit 1; }
	@cmake --build --preset coverage
	@find build/coverage -name '*.gcda' -delete
	@ctest --preset coverage -j$$(nproc) -LE 'slow|once' || true
	@gcovr -r . --object-directory build/coverage --filter src/ --txt build/coverage/report.txt \
		--html-details build/coverage/report.html -s

# Tests that start other programs are left out, for valgrind does not look into those, and what takes minutes there;
# no test may take longer than ten minutes.
memcheck:
	@scripts/install-deps.sh memcheck
	@mkdir -p build
	@cmake --preset memcheck >build/memcheck.log 2>&1 || { cat build/memcheck.log; exit 1; }
	@cmake --build --preset memcheck
	@ctest --preset memcheck -j$$(nproc) --timeout 600 -R '^(test|fuzz)_' -LE 'slow|once' \
		-E 'fault|written|kernels|_cli|pipeline|formats|test_(bench|checks|collect|drafts|prefetch|serve|walks)$$'

install: build
	DESTDIR=$(DESTDIR) cmake --install $(BUILD) --prefix $(PREFIX)

docs:
	@scripts/install-deps.sh docs
	@mkdir -p build
	@cmake --preset release >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@cmake --build --preset release --target docs
	@echo "$(BUILD)/doxygen/html/index.html"

format:
	@clang-format-14 -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf build
