# Octavo: make, make check, make demo, make install PREFIX= DESTDIR=
#
# One non-recursive file. Objects lie in build/$(BUILD)/; BUILD=asan is the same
# tree under AddressSanitizer and UBSan, STATIC=1 a binary that needs no library.

ifeq ($(origin CC),default)
CC := gcc
endif
BUILD ?= release
PREFIX ?= /usr/local
DESTDIR ?=
O := build/$(BUILD)
VERSION := 0.1.0

CFLAGS ?= -O2 -g
CPPFLAGS += -I. -D_GNU_SOURCE -DOCTAVO_VERSION='"$(VERSION)"'
WARN := -Wall -Wextra -Wvla -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
        -Wwrite-strings -Wpointer-arith $(if $(WERROR),-Werror)
ALL_CFLAGS := -std=c11 $(CFLAGS) $(WARN) -ffp-contract=off -fno-common \
              -ffile-prefix-map=$(CURDIR)=. -pthread
ifdef STATIC
CPPFLAGS += -DOCTAVO_STATIC
LDFLAGS += -static
endif
LDLIBS := -ljansson -lzstd -lz -lm -pthread
ifeq ($(BUILD),asan)
ALL_CFLAGS += -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
endif

X86 := $(filter x86_64 amd64,$(shell uname -m))
LIB_SRC := $(sort $(wildcard formats/*.c formats/conventions/*.c quantizers/*.c calibrate/*.c calibrate/forward/*.c))
CLI_SRC := $(sort $(wildcard cli/*.c))
TEST_SRC := $(sort $(wildcard tests/formats/*.c tests/quantizers/*.c tests/calibrate/*.c) \
              $(filter-out tests/prove.c,$(wildcard tests/*.c)))
TARGETS := $(sort $(wildcard formats/targets/*.json))

LIB_OBJ := $(LIB_SRC:%.c=$(O)/%.o) $(O)/targets.o
CLI_OBJ := $(CLI_SRC:%.c=$(O)/%.o)
TEST_OBJ := $(TEST_SRC:%.c=$(O)/%.o)
MINI_OBJ := $(patsubst %.c,$(O)/%.o,$(sort $(wildcard samples/mini/*.c)))
VALIDATE_OBJ := $(patsubst %.c,$(O)/%.o,$(sort $(wildcard tests/validate/*.c)))
BENCH := $(patsubst tests/bench/%.c,$(O)/bench-%,$(sort $(wildcard tests/bench/*.c)))
VERBS := $(patsubst cli/verb_%.c,%,$(wildcard cli/verb_*.c))

all: $(O)/octavo

# Each instruction set has flags of its own; nothing else is compiled with them.
ifneq ($(X86),)
$(patsubst %.c,$(O)/%.o,$(wildcard quantizers/kern_avx2*.c)): ISA := -mavx2 -mfma -mf16c
$(O)/formats/sha256_ni.o: ISA := -msha -msse4.1
endif

# Loops over all weights that are plain C.
$(O)/calibrate/inspect.o: ISA := -O3

$(O)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(ALL_CFLAGS) $(ISA) -MMD -MP -c $< -o $@

$(O)/targets.c: formats/targets/embed.sh $(TARGETS)
	@mkdir -p $(@D)
	sh formats/targets/embed.sh $(TARGETS) > $@.tmp && mv $@.tmp $@
$(O)/targets.o: $(O)/targets.c
	$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -c $< -o $@

$(O)/liboctavo.a: $(LIB_OBJ)
	@rm -f $@
	ar rcsD $@ $^
$(O)/octavo: $(CLI_OBJ) $(O)/liboctavo.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@
$(O)/unit: $(TEST_OBJ) $(O)/liboctavo.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ -lcriterion $(LDLIBS) -o $@
$(O)/prove: $(O)/tests/prove.o $(O)/tests/oracle.o $(O)/tests/scale_oracle.o $(O)/liboctavo.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@
$(O)/mini: $(MINI_OBJ)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ -o $@
$(O)/validate: $(VALIDATE_OBJ)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ -ljansson -o $@
$(O)/logits: $(O)/tests/clients/logits.o $(O)/liboctavo.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@
$(O)/bench-%: $(O)/tests/bench/%.o $(O)/liboctavo.a
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

-include $(LIB_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(TEST_OBJ:.o=.d) $(MINI_OBJ:.o=.d) $(VALIDATE_OBJ:.o=.d) $(wildcard $(O)/tests/bench/*.d $(O)/tests/*.d)

# ---- packages ----------------------------------------------------------------
NEED_BUILD := gcc libc6-dev libjansson-dev libzstd-dev zlib1g-dev libopenblas0-pthread
NEED_CHECK := $(NEED_BUILD) libcriterion-dev mandoc zstd
packages = sh tests/packages.sh
deps:
	@$(packages) $(NEED_BUILD)
check-packages:
	@$(packages) $(NEED_CHECK)

# Builds with as many jobs as there are processors, where make was not told how many.
BUILD_IT = $(MAKE) --no-print-directory -s $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

# ---- what a user runs ---------------------------------------------------------
demo: deps
	+@$(BUILD_IT) $(O)/octavo
	@OCTAVO=$(CURDIR)/$(O)/octavo sh samples/demo.sh

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 \
	    $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/man/man7 \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -m 755 $(O)/octavo $(DESTDIR)$(PREFIX)/bin/octavo
	for v in $(VERBS); do ln -sf octavo $(DESTDIR)$(PREFIX)/bin/octavo-$$v; done
	for s in 1 5 7; do install -m 644 man/*.$$s $(DESTDIR)$(PREFIX)/share/man/man$$s/; done
	$(O)/octavo completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/octavo

clean:
	rm -rf build

ASAN := detect_leaks=1:handle_segv=0:handle_sigbus=0:allocator_may_return_null=1

# ---- proof ---------------------------------------------------------------------
check: check-packages
	+@$(BUILD_IT) $(O)/octavo $(O)/unit $(O)/mini $(O)/validate $(O)/bench-timed
	@$(MAKE) --no-print-directory -s check-deps check-lists check-hdr check-man
	@OCTAVO=$(CURDIR)/$(O)/octavo sh tests/run.sh $(O)/unit tests/cli samples

unit: check-packages
	+@$(BUILD_IT) $(O)/unit
	$(O)/unit

# The unit tests alone, under the sanitizers.
asan-unit: check-packages
	+@$(BUILD_IT) BUILD=asan build/asan/unit
	@ASAN_OPTIONS=$(ASAN) build/asan/unit
asan: check-packages
	+@$(BUILD_IT) BUILD=asan build/asan/octavo build/asan/unit build/asan/mini build/asan/validate build/asan/bench-timed
	@ASAN_OPTIONS=$(ASAN) \
	  OCTAVO=$(CURDIR)/build/asan/octavo sh tests/run.sh build/asan/unit tests/cli

# What statistics of inputs are worth, on real models (tests/accuracy).
bench-accuracy: deps
	+@$(BUILD_IT) $(O)/octavo
	@OCTAVO=$(CURDIR)/$(O)/octavo sh tests/accuracy/run.sh

# Client libraries from PyPI open what Octavo writes; needs Python and the network.
check-clients: deps
	+@$(BUILD_IT) $(O)/octavo $(O)/logits
	@OCTAVO=$(CURDIR)/$(O)/octavo sh tests/clients/run.sh

# Products on an NVIDIA GPU with packed files; skips where there is none. gpu-files makes what it
# needs, here or on another machine.
gpu-files: $(O)/octavo
	@OCTAVO=$(O)/octavo sh tests/gpu/prepare.sh
check-gpu:
	@OCTAVO=$(O)/octavo sh tests/gpu/run.sh

prove: deps
	+@$(BUILD_IT) $(O)/prove
	$(O)/prove

bench: deps
	+@$(BUILD_IT) $(O)/octavo $(O)/mini $(BENCH)
	@OCTAVO=$(CURDIR)/$(O)/octavo BENCH=$(CURDIR)/$(O)/bench- sh tests/bench/run.sh

# Includes flow one way: cli -> calibrate -> quantizers -> formats.
check-deps:
	@sh tests/check-deps.sh
# Lists, man pages and folders agree.
check-lists: $(O)/octavo
	@OCTAVO=$(O)/octavo sh tests/check-lists.sh
# Each header compiles alone.
check-hdr:
	@for h in formats/*.h quantizers/*.h calibrate/*.h calibrate/forward/*.h cli/*.h; do \
	  $(CC) $(CPPFLAGS) -std=c11 -Wall -Wextra -Wno-psabi -fsyntax-only -x c $$h || exit 1; done
check-man:
	@mandoc -Tlint -Wwarning man/*.[157]
# The tables of chips in octavo-targets(7) and the README, from formats/targets/; check-lists compares them.
tables: $(O)/octavo
	@OCTAVO=$(O)/octavo sh man/tables.sh
format:
	clang-format -i $(sort $(filter-out build/%,$(wildcard */*.c */*.h */*/*.c */*/*.h)))

.PHONY: all deps check-packages demo install clean check unit asan asan-unit check-clients gpu-files check-gpu prove bench bench-accuracy check-deps \
        check-lists check-hdr check-man tables format
.DELETE_ON_ERROR:
.SECONDARY:
