# SPDX-License-Identifier: BSD-2-Clause
# The API and unit tests, cross-compiled for arm64 and run by qemu's user-mode emulation: that the
# code generated for arm64, the assembly in src/invoke.c and the calling conventions are right.  It
# says nothing about memory ordering: qemu runs on the ordering of the machine that it emulates on.
# Included after tests/tests.mk.

ARM64_BUILD := build/arm64
ARM64_LIBS := $(wildcard $(BUILD)/sysroot/usr/lib/aarch64-linux-gnu)
# qemu takes memory from GLib's slices, whose lock a forked child may find taken for ever.
QEMU_ARM64 := env G_SLICE=always-malloc qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH=$(abspath $(ARM64_LIBS))

ARM64_PROGRAMS = $(plain_API) $(plain_UNIT)

.PHONY: test-arm64
test-arm64: ## Install what it takes, then run API and unit tests as arm64 code in qemu
	@$(MAKE) --no-print-directory CC=aarch64-linux-gnu-gcc BUILD=$(ARM64_BUILD) \
		CPPFLAGS='$(CPPFLAGS) -DEMULATED=1' arm64-run

.PHONY: arm64-run
arm64-run: $(ARM64_PROGRAMS)
	$(PROVE:%'=% $(QEMU_ARM64)') $(ARM64_PROGRAMS)
