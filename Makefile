# SPDX-License-Identifier: BSD-2-Clause
# One make for everything: tests, bench and the demo are included below.  `make help` lists the
# targets.  V=1 shows the commands, WERROR=-Werror insists.  Settable: CC CXX CPPFLAGS CFLAGS
# CXXFLAGS LDFLAGS BUILD, and for install PREFIX DESTDIR LIBDIR INCLUDEDIR MANDIR DOCDIR.  DEBUG=1 makes the
# library that tells of wrong use (install-variants installs it beside the other).

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
SHELL := /bin/bash

# A cross compiler knows its own binary tools.
ifeq ($(origin AR),default)
AR := $(shell $(CC) -print-prog-name=ar)
endif
OBJCOPY ?= $(shell $(CC) -print-prog-name=objcopy)

BUILD ?= build
CFLAGS ?= -O2 -g
CXXFLAGS ?= $(CFLAGS)
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/singleflight

# These targets install what they need before anything else is looked at (not so with make -n); for
# `make test` that is also what the programs of the demos need, which are tested as well.
BOOTSTRAP := $(patsubst test-%,%,$(patsubst test,all,$(filter test demo demo-event demo-nginx demo-fleet bench bench-fleet \
	test-arm64 test-musl coverage deb,$(MAKECMDGOALS))))
ifneq ($(if $(findstring n,$(filter-out --%,$(firstword -$(MAKEFLAGS)))),,$(BOOTSTRAP)),)
BOOTSTRAP_SAYS := $(shell tools/bootstrap $(BOOTSTRAP) >&2)
ifneq ($(.SHELLSTATUS),0)
$(error tools/bootstrap failed)
endif
endif

VERSION := $(shell sed -n 's/^\#define SFLIGHT_VERSION_[A-Z]* \([0-9]*\)$$/\1/p' \
	include/singleflight.h | paste -sd.)
SONAME := libsingleflight.so.$(firstword $(subst ., ,$(VERSION)))

# --------------------------------------------------------------------------------------- flags
# Of the command line only: others call a variable of the environment so.
ifeq ($(origin DEBUG),command line)
override CPPFLAGS += $(if $(filter-out 0,$(DEBUG)),-DSFLIGHT_DEBUG)
endif
# -fexceptions: cleanup handlers run when a C++ exception or a cancelled thread passes through.
WARN = -Wall -Wextra -Wconversion -Wshadow -Wpedantic $(WERROR)
WARN_C := -Wstrict-prototypes
# A cross build has ck's headers and library, and what else links are told, where tools/bootstrap puts it.
SYSROOT := $(BUILD)/sysroot/usr
SYSROOT_INCLUDE := $(addprefix -isystem ,$(wildcard $(SYSROOT)/include))
SYSROOT_LINK := $(addprefix @,$(wildcard $(SYSROOT)/link))
CFLAGS_ALL = $(CFLAGS) -std=gnu11 -D_GNU_SOURCE $(WARN) $(WARN_C) -fexceptions -pthread -Iinclude \
	$(SYSROOT_INCLUDE) $(CPPFLAGS)
CXXFLAGS_ALL = $(CXXFLAGS) -std=c++17 $(WARN) -pthread -Iinclude $(CPPFLAGS)

# initial-exec: thread-local data without a call into the dynamic linker.  musl loads a library with
# such data at a program's start only, so there it is found by that call.
TLS_MODEL := $(if $(shell $(CC) -E -dM -include features.h -xc /dev/null 2>/dev/null | \
	grep -w __GLIBC__),initial-exec,global-dynamic)

# The archive and the shared library are made from the same objects.
# no-lto, whatever CFLAGS say: in an object that is bytecode hidden names cannot be made local.
LIB_CFLAGS := -fPIC -fvisibility=hidden -fno-semantic-interposition -ftls-model=$(TLS_MODEL) -fno-lto
# nodelete: threads that end after a dlclose() still run our destructor.  now: a thread that is
# ending, or being cancelled, never enters the linker to bind a function.
LIB_LDFLAGS := -shared -fno-lto -Wl,-soname,$(SONAME) -Wl,--version-script,src/libsingleflight.map \
	-Wl,-z,defs -Wl,-z,nodelete -Wl,-z,relro -Wl,-z,now
LIB_DEPS := $(strip $(addprefix -L,$(wildcard $(SYSROOT)/lib/*)) -lck -lpthread $(SYSROOT_LINK))

# ------------------------------------------------------------------------------------- library
SRC := $(sort $(wildcard src/*.c))
OBJ := $(SRC:%.c=$(BUILD)/%.o)
LIB_A := $(BUILD)/libsingleflight.a
LIB_SO := $(BUILD)/libsingleflight.so.$(VERSION)
MAN := $(sort $(wildcard src/man/*.[37]))
EXAMPLES := $(patsubst tools/%,%,$(sort $(filter-out %.mk,$(wildcard tools/examples/*.* tools/examples/*/*.*))))

.PHONY: all
all: lib ## Build the library, static and shared (the default)

.PHONY: lib
lib: $(LIB_A) $(LIB_SO)

# say WHAT: the start of a recipe line, shown instead of it.
say = $(if $(V),,@printf '  %-8s %s\n' $(1) $@;)

# Whatever changes the objects, but is no file: rewritten only when it is different.
FLAGS := $(CC) $(CFLAGS_ALL) $(LIB_CFLAGS) $(AR) $(LDFLAGS)
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' >$@
.PHONY: FORCE
FORCE:

$(BUILD)/src/%.o: src/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) $(LIB_CFLAGS) -MMD -MP -c -o $@ $<

# One object whose hidden names are local: they cannot collide with those of a program.  Not so the
# references to personality routines, and what the notes of tracepoints refer to: each is in a section
# of which the linker keeps one program-wide.
LIB_O := $(LIB_A:.a=.o) $(BUILD)/libsingleflight-tsan.o
$(LIB_A:.a=.o): $(OBJ)
$(LIB_O):
	$(call say,LD)$(CC) -nostdlib -r -fno-lto -o $@ $^
	@$(OBJCOPY) --localize-hidden $@
	@$(OBJCOPY) --wildcard --globalize-symbol='DW.ref.*' --weaken-symbol='DW.ref.*' \
		--globalize-symbol=_.stapsdt.base $@

$(LIB_O:.o=.a): %.a: %.o
	@rm -f $@
	$(call say,AR)$(AR) rcs $@ $^

$(LIB_SO): $(OBJ) src/libsingleflight.map
	$(call say,LD)$(CC) $(CFLAGS) $(LDFLAGS) $(LIB_LDFLAGS) -pthread -o $@ $(OBJ) $(LIB_DEPS)
	@echo '#include <sys/sdt.h>' | $(CC) $(CFLAGS_ALL) -E -xc - >/dev/null 2>&1 || \
		echo '  (without tracepoints: there is no <sys/sdt.h>, which Debian has in systemtap-sdt-dev)'
	@ln -sf $(@F) $(BUILD)/$(SONAME)
	@ln -sf $(SONAME) $(BUILD)/libsingleflight.so

-include $(OBJ:.o=.d)

# Variants for programs of users who look for faults: the archive for ThreadSanitizer, whose runtime
# the program brings; for helgrind and DRD a library that tells them what it orders; and one that
# tells of its own wrong use.
VARIANT_CFLAGS_tsan := -fsanitize=thread -fno-omit-frame-pointer
VARIANT_CFLAGS_valgrind := -DSFLIGHT_VALGRIND -Wno-conversion
VARIANT_CFLAGS_debug := -DSFLIGHT_DEBUG
variant_so = libsingleflight-$(1).so.$(VERSION)
VARIANT_SOS := $(foreach v,valgrind debug,$(BUILD)/$(call variant_so,$(v)))

define variant
variant_$(1)_OBJ := $(SRC:%.c=$(BUILD)/variant-$(1)/%.o)
-include $$(variant_$(1)_OBJ:.o=.d)

$(BUILD)/variant-$(1)/src/%.o: src/%.c $(BUILD)/flags
	@mkdir -p $$(@D)
	$$(call say,CC)$(CC) $(CFLAGS_ALL) $(LIB_CFLAGS) $(VARIANT_CFLAGS_$(1)) -MMD -MP -c -o $$@ $$<

$(BUILD)/$(call variant_so,$(1)): $$(variant_$(1)_OBJ) src/libsingleflight.map
	$$(call say,LD)$(CC) $(CFLAGS) $(LDFLAGS) $(subst $(SONAME),$(call variant_so,$(1)),$(LIB_LDFLAGS)) \
		-pthread -o $$@ $$(variant_$(1)_OBJ) $(LIB_DEPS)
	@ln -sf $$(@F) $(BUILD)/libsingleflight-$(1).so
endef
$(foreach v,tsan valgrind debug,$(eval $(call variant,$(v))))

$(BUILD)/libsingleflight-tsan.o: $(variant_tsan_OBJ)

.PHONY: variants
variants: $(BUILD)/libsingleflight-tsan.a $(VARIANT_SOS) ## Build the library for ThreadSanitizer, for helgrind and DRD, and one that tells of wrong use

# ------------------------------------------------------------------------------------- install
# The paths below PREFIX, as a .pc file says them.
pc_path = $(patsubst $(PREFIX)/%,$${prefix}/%,$(1))
D := $(DESTDIR)

# A CMake file finds everything from where it is itself.
CMAKEDIR = $(LIBDIR)/cmake/singleflight
CMAKE_FILES := singleflight-config.cmake singleflight-config-version.cmake
FROM_LIBDIR = $(shell realpath -ms --relative-to='$(LIBDIR)' '$(INCLUDEDIR)')

# A live system's linker has to learn of what came or went; not ours to do for a staged tree.
TELL_LINKER = [ -n "$(D)" ] || [ "$$(id -u)" != 0 ] || ldconfig

.PHONY: install
install: lib ## Install library, headers, man pages, examples, singleflight.pc, CMake files and gdb.py (PREFIX, DESTDIR)
	install -d $(D)$(INCLUDEDIR) $(D)$(LIBDIR)/pkgconfig
	install -m 644 include/singleflight.h include/singleflight.hpp $(D)$(INCLUDEDIR)
	install -m 644 $(LIB_A) $(D)$(LIBDIR)
	install -m 755 $(LIB_SO) $(D)$(LIBDIR)
	ln -sf $(notdir $(LIB_SO)) $(D)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(D)$(LIBDIR)/libsingleflight.so
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' \
		-e 's|@LIBDIR@|$(call pc_path,$(LIBDIR))|' \
		-e 's|@INCLUDEDIR@|$(call pc_path,$(INCLUDEDIR))|' \
		src/singleflight.pc.in >$(D)$(LIBDIR)/pkgconfig/singleflight.pc
	chmod 644 $(D)$(LIBDIR)/pkgconfig/singleflight.pc
	install -d $(D)$(CMAKEDIR)
	for file in $(CMAKE_FILES); do \
		sed 's|@VERSION@|$(VERSION)|; s|@INCLUDEDIR@|$(FROM_LIBDIR)|' src/$$file.in \
			>$(D)$(CMAKEDIR)/$$file && chmod 644 $(D)$(CMAKEDIR)/$$file || exit; done
	install -d $(D)$(PREFIX)/share/singleflight
	install -m 644 src/gdb.py $(D)$(PREFIX)/share/singleflight
	$(call install_man,$(D)$(MANDIR),$(MAN))
	for example in $(EXAMPLES); do \
		install -D -m 644 tools/$$example $(D)$(DOCDIR)/$$example || exit; done
	@$(TELL_LINKER)

# Most pages of functions only name another one, which man looks for from such a folder.
define install_man
install -d $(1)/man3 $(1)/man7
	install -m 644 $(filter %.3,$(2)) $(1)/man3
	install -m 644 $(filter %.7,$(2)) $(1)/man7
endef

.PHONY: man
man: ## Have the man pages read without installing: man -M build/man sflight_do
	$(call install_man,$(BUILD)/man,$(MAN) $(FLEET_MAN))

.PHONY: html
html: ## Make the man pages a small site: build/html/index.html
	tools/manual/html $(BUILD)/html

# Libs.private is what an archive needs: two have none, and whoever links the third needs it always.
variant_pc = sed -e '/^Libs.private/d' -e 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' \
	-e 's|@LIBDIR@|$(call pc_path,$(LIBDIR))|; s|@INCLUDEDIR@|$(call pc_path,$(INCLUDEDIR))|' \
	-e 's|^Name: .*|&-$(1)|; s|-lsingleflight|&-$(1)|' $(2) src/singleflight.pc.in \
	>$(D)$(LIBDIR)/pkgconfig/singleflight-$(1).pc

.PHONY: install-variants
install-variants: install variants ## Also install singleflight-tsan.pc, -valgrind.pc and -debug.pc, and what they name
	install -m 644 $(BUILD)/libsingleflight-tsan.a $(D)$(LIBDIR)
	install -m 755 $(VARIANT_SOS) $(D)$(LIBDIR)
	ln -sf $(call variant_so,valgrind) $(D)$(LIBDIR)/libsingleflight-valgrind.so
	ln -sf $(call variant_so,debug) $(D)$(LIBDIR)/libsingleflight-debug.so
	$(call variant_pc,tsan,-e 's|^Libs: .*|& -lck -pthread|')
	$(call variant_pc,valgrind,)
	$(call variant_pc,debug,)
	install -m 644 src/valgrind.supp $(D)$(PREFIX)/share/singleflight
	@$(TELL_LINKER)

.PHONY: uninstall
uninstall: ## Remove what install put there (with the same paths)
	rm -f $(addprefix $(D)$(INCLUDEDIR)/,singleflight.h singleflight.hpp)
	rm -f $(addprefix $(D)$(LIBDIR)/,$(notdir $(LIB_A) $(LIB_SO)) $(SONAME) libsingleflight.so)
	rm -f $(D)$(LIBDIR)/pkgconfig/singleflight.pc
	rm -f $(addprefix $(D)$(CMAKEDIR)/,$(CMAKE_FILES))
	[ ! -d $(D)$(CMAKEDIR) ] || rmdir --ignore-fail-on-non-empty $(D)$(CMAKEDIR)
	rm -f $(addprefix $(D)$(LIBDIR)/,libsingleflight-tsan.a $(notdir $(VARIANT_SOS)) \
		libsingleflight-valgrind.so libsingleflight-debug.so)
	rm -f $(addprefix $(D)$(LIBDIR)/pkgconfig/singleflight-,tsan.pc valgrind.pc debug.pc)
	rm -f $(addprefix $(D)$(PREFIX)/share/singleflight/,gdb.py valgrind.supp)
	[ ! -d $(D)$(PREFIX)/share/singleflight ] || \
		rmdir --ignore-fail-on-non-empty $(D)$(PREFIX)/share/singleflight
	rm -f $(addprefix $(D)$(MANDIR)/man3/,$(notdir $(filter %.3,$(MAN))))
	rm -f $(addprefix $(D)$(MANDIR)/man7/,$(notdir $(filter %.7,$(MAN))))
	rm -f $(addprefix $(D)$(DOCDIR)/,$(EXAMPLES))
	for dir in $$(printf '%s\n' $(sort $(dir $(EXAMPLES))) | sort -r) ''; do \
		[ ! -d $(D)$(DOCDIR)/$$dir ] || rmdir --ignore-fail-on-non-empty $(D)$(DOCDIR)/$$dir; done
	@$(TELL_LINKER)

# --------------------------------------------------------------------------------------- tests
.PHONY: test
test: test-all ## Install what the tests need, then run all of them

.PHONY: demo
demo: demo-run ## Install what the demo needs, then run it

.PHONY: demo-event
demo-event: demo-event-run ## Install what the event demo needs, then run it

.PHONY: demo-nginx
demo-nginx: demo-nginx-run ## Install what the nginx demo needs, then run it

.PHONY: model
model: ## Model-check: small models with spin, the kernels with GenMC if it is on the PATH
	tests/spin/run
	tools/model

# Its own results come last, where they are looked for.
test-all: | check test-hpp test-runtime test-fleet bench-smoke bench-fleet-smoke demo-check event-check \
	example-check nginx-check demo-fleet-check

# selftest seeds a fault for each of the others.
CHECKS := layers symbols tags words man codes links selftest

.PHONY: check
check: lib ## Run tools/checks/*, tests/mutants/run --texts, and make check-format
	@for c in $(CHECKS); do echo "tools/checks/$$c"; BUILD=$(BUILD) tools/checks/$$c || exit; done
	@echo "tests/mutants/run --texts"; tests/mutants/run --texts
# Where libsingleflight-fleet can be built it is looked at too, and never half-built by another target.
check: check-format $(shell pkg-config --exists hiredis 2>/dev/null && echo fleet)

FORMATTED = $(shell find src include bench tests tools -name '*.[ch]' -o -name '*.[ch]pp')

.PHONY: abi-dump
abi-dump: lib ## At a release, after make fleet: note what the ABI is, in tools/abi
	tools/abi/abi dump

.PHONY: abi-check
abi-check: lib ## Compare the ABI with the last release's: programs built for that one must work
	tools/abi/abi check

.PHONY: check-format
check-format: ## Complain about code that clang-format would change
	@clang-format --dry-run -Werror $(FORMATTED)

.PHONY: format
format: ## Let clang-format change it
	clang-format -i $(FORMATTED)

-include src/fleet/fleet.mk tests/hpp/hpp.mk tests/runtime/runtime.mk tests/tests.mk tests/fleet/fleet.mk \
	tests/history/history.mk tests/soak/soak.mk tests/explore/explore.mk tests/fuzz/fuzz.mk \
	tests/arm64/arm64.mk tests/musl/musl.mk tests/coverage/coverage.mk tests/mutants/mutants.mk bench/bench.mk \
	bench/fleet/fleet.mk tools/demo/demo.mk tools/event/event.mk tools/examples/examples.mk tools/nginx/nginx.mk \
	tools/fleet/fleet.mk tools/packages/packages.mk

.PHONY: clean
clean: ## Remove everything that was built
	rm -rf $(BUILD)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "%-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST) | sort
