# The front end of the build: cmake does the work. "make help" lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := all

.PHONY: all
all: packages ## cross-build hcsd for Windows (build/windows/bin)
	@cmake/build.sh windows

.PHONY: test-programs
test-programs: packages ## all, and the Windows programs that tests and measurements run
	@cmake/build.sh windows all test-programs

.PHONY: native
native: packages ## build the pure modules natively, with sanitizers and fuzzers (build/native-sanitize)
	@cmake/build.sh native-sanitize

.PHONY: demo
demo: all ## see hcsd do its main job under Wine
	@tests/demo/demo.sh

.PHONY: test
test: test-programs native ## run all tests: natively with sanitizers, and under Wine against the emulator
	@cmake/run-tests.sh -LE '^(soak|bench)$$'

.PHONY: dist
dist: all ## make the release files: MSI, zip, checksums (build/dist); signed when a key is configured
	@version=$$(sed -n 's/^project(hcsd VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt); \
	installer/dist.py --bin build/windows/bin --output build/dist --version "$$version"

.PHONY: bench
bench: test-programs ## measure, as ratios within one run
	@tests/bench/bench.sh

.PHONY: soak
soak: test-programs native ## the tests that are too long for every run
	@cmake/run-tests.sh -L '^soak$$'

.PHONY: fuzz
fuzz: native ## fuzz each fuzzer for FUZZ_SECONDS (300)
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-300} ctest --preset native-sanitize -L '^fuzz$$'

.PHONY: format-check
format-check: ## check the layout of the sources against .clang-format
	@git ls-files -z --cached --others --exclude-standard -- '*.c' '*.h' '*.cc' | xargs -0 -r clang-format --dry-run --Werror

.PHONY: packages
packages: ## check, and as root install, the Debian packages that are needed
	@cmake/packages.sh

.PHONY: clean
clean: ## remove what was built here (the dependencies stay in the cache)
	@[[ ! -d build/wine ]] || cmake/wine-run.sh --end-all
	@rm -rf build

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22
