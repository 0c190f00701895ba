# Thin on purpose: Meson and ninja do the work. packages.txt lists what they need, and what is missing is installed.

PREFIX = /usr/local

.PHONY: all
all: build/build.ninja             ## build/proa, the libraries and the examples (release)
	@ninja -C build product

.PHONY: run
run: build/build.ninja             ## serve examples/site on http://127.0.0.1:8080
	@ninja -C build --quiet proa
	@build/proa serve examples/site --listen 127.0.0.1:8080

.PHONY: test
test:                              ## every test on every build, and lint; ends with a line of totals
	@tools/install-packages build test lint
	@tools/run-tests

.PHONY: fuzz
fuzz:                              ## every fuzz target for a minute
	@tools/install-packages build test
	@FUZZ_SECONDS=60 tools/run-tests fuzz

.PHONY: soak
soak: build/build.ninja            ## random programs with fresh seeds on every engine for SECONDS=600
	@ninja -C build --quiet tests/random/programs
	@SECONDS_EACH=$(or $(SECONDS),600) ninja -C build soak

.PHONY: lint
lint: build/build.ninja            ## format, clang-tidy, includes, man pages, scripts
	@tools/install-packages lint
	@ninja -C build --quiet libproa.so.0
	@tools/lint

.PHONY: format
format:                            ## lay out every C file by .clang-format
	@tools/install-packages lint
	@tools/lint reformat

.PHONY: bench
bench: build/build.ninja           ## measure against the hand-written references, libuv, nginx and h2o
	@tools/install-packages bench
	@meson setup --reconfigure build >/dev/null
	@ninja -C build
	@bench/run.py $(ARGS)

.PHONY: install
install: build/build.ninja         ## install below PREFIX=/usr/local (DESTDIR= is honoured)
	@meson configure build -Dprefix=$(abspath $(PREFIX))
	@ninja -C build product
	@meson install -C build --no-rebuild --quiet

.PHONY: clean
clean:                             ## remove what was built
	@rm -rf build build-asan build-tsan build-clang build-fuzz

.PHONY: help
help:                              ## this text
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile | expand -t 16

.PHONY: packages
packages:
	@tools/install-packages build

build/build.ninja: | packages
	@meson setup build
