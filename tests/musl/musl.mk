# SPDX-License-Identifier: BSD-2-Clause
# API and unit tests with musl: compiled by Debian's musl-gcc, with a little of cmocka of our own; the
# former linked with the shared library and, static, with the archive.  Included after tests/tests.mk.

MUSL_BUILD := build/musl
MUSL_MAKE = $(MAKE) --no-print-directory CC=musl-gcc BUILD=$(MUSL_BUILD) CMOCKA=-Itests/musl

# musl has no makecontext(); and a task must not leave fn by the end of its thread there, which
# nearly all of test_leader_tasks is about.
MUSL_API := $(filter-out test_coroutines test_leader_tasks,$(API_TESTS))
# Those that load a library, or stand before functions of the C library.
MUSL_ONLY_SHARED := test_unload test_clock test_start
# Those that panic in frames with cleanups: musl-gcc has no shared libgcc, and the program's own part
# of the unwinder does not know what the shared library's does.
MUSL_ONLY_STATIC := test_stress test_leader_panics

MUSL_SHARED := $(call api_programs,plain,$(filter-out $(MUSL_ONLY_STATIC),$(MUSL_API)))
MUSL_STATIC := $(call api_programs,static,$(filter-out $(MUSL_ONLY_SHARED),$(MUSL_API)))
MUSL_PROGRAMS := $(plain_UNIT) $(MUSL_SHARED) $(MUSL_STATIC)

$(BUILD)/static/api/%: tests/api/%.c $(BUILD)/stage.done $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(API_CC) -static $$($(STAGED_PKG) --static) $(LIB_DIRS) $(CMOCKA) $(SYSROOT_LINK)

-include $(wildcard $(MUSL_STATIC:=.d))

.PHONY: test-musl
test-musl: ## Install what it takes, then run API and unit tests with musl, shared and static
	+@$(MUSL_MAKE) musl-run

.PHONY: musl-run
musl-run: $(MUSL_PROGRAMS)
	BUILD=$(BUILD) tools/checks/symbols
	$(PROVE) $(MUSL_PROGRAMS)

# One program, for a seeded fault: `make build/musl/static/api/test_do`.
$(BUILD)/musl/%: FORCE
	@tools/bootstrap musl
	+@flock $(MUSL_BUILD)/sysroot $(MUSL_MAKE) $@
