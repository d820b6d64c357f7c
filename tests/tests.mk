# SPDX-License-Identifier: BSD-2-Clause
# The tests of the library; tests/README.md says what each of them shows.
#
# A variant is a compiler with flags: it compiles src/ and every test program into $(BUILD)/VARIANT.
# The plain variant is the library as users get it: its API tests see only what `make install` puts
# into an empty directory.

# The slowest first, so that none is left for the end; of each variant its compiler and flags.
TEST_VARIANTS := tsan asan hooks collide clang debug
tsan_CC := clang
tsan_FLAGS := -DSFLIGHT_CHECKED -fsanitize=thread -fno-omit-frame-pointer
asan_CC := gcc
asan_FLAGS := -DSFLIGHT_CHECKED -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
clang_CC := clang
clang_FLAGS := -DSFLIGHT_CHECKED
# What users may do they may do here, too: nothing of it is taken for wrong.
debug_CC := gcc
debug_FLAGS := -DSFLIGHT_DEBUG
debug_UNIT :=

API_TESTS := $(sort $(patsubst tests/api/%.c,%,$(wildcard tests/api/*.c)))
UNIT_TESTS := $(sort $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/*.c)))

# Programs of a variant; the longest first, so that no one is left for the end.
api_programs = $(addprefix $(BUILD)/$(1)/api/,\
	$(filter test_stress test_threads,$(2)) $(filter-out test_stress test_threads,$(2)))
unit_programs = $(addprefix $(BUILD)/$(1)/unit/,$(2))

# Every group has a runtime, whose tasks are the threads.  test_threads measures memory; the others have
# runtimes of their own.
hooks_CC := gcc
hooks_FLAGS := $(asan_FLAGS) -DSFLIGHT_TEST_RUNTIME=thread_runtime
hooks_SRC := tests/lib/thread_runtime.c
hooks_WITHOUT := test_threads test_runtime_% test_leader_tasks
hooks_UNIT :=

# Every key has the same hash: all calls of a group stand in one bucket, and only comparing whole keys
# tells them apart.  And a thread that joins one call again and again has a joint of it, whether others
# join, too, or not.  test_threads measures memory, which here waits for its grace period;
# test_callback has 100,000 calls in flight, which here are one chain.
collide_CC := gcc
collide_FLAGS := $(asan_FLAGS) -DSFLIGHT_TEST_HASH=42 -DJOINT_AFTER=0u
collide_WITHOUT := test_threads test_callback
collide_UNIT := $(filter test_call%,$(UNIT_TESTS))

# ------------------------------------------------------------------------------- plain programs
comma := ,
STAGE := $(abspath $(BUILD))/stage
STAGED := $(STAGE)/opt/singleflight
STAGED_PKG := PKG_CONFIG_PATH=$(STAGED)/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$(STAGE) \
	pkg-config --cflags --libs singleflight

$(BUILD)/stage.done: $(LIB_A) $(LIB_SO) $(wildcard include/*) $(wildcard src/*.in) $(MAN) \
		$(addprefix tools/,$(EXAMPLES))
	@rm -rf $(STAGE)
	@$(MAKE) --no-print-directory -s install DESTDIR=$(STAGE) PREFIX=/opt/singleflight
	@touch $@

# The libraries of a cross build are not where the linker looks.
LIB_DIRS := $(filter -L%,$(LIB_DEPS))
CMOCKA := $(LIB_DIRS) $(patsubst -L%,-Wl$(comma)-rpath-link=%,$(LIB_DIRS)) -lcmocka

API_CC = $(CC) $(filter-out -Iinclude,$(CFLAGS_ALL)) -MMD -MP -MF $@.d -o $@ $<

$(BUILD)/plain/api/%: tests/api/%.c $(BUILD)/stage.done $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(API_CC) $$($(STAGED_PKG)) -Wl,-rpath,$(STAGED)/lib $(CMOCKA) $(SYSROOT_LINK)

# Loads the shared library by itself, and plugins: nothing to link, nothing for the variants.
UNLINKED := test_unload
PLUGIN := $(abspath $(BUILD))/plain/plugin.so
PLUGIN_DELETE := $(abspath $(BUILD))/plain/plugin-delete.so
$(BUILD)/plain/api/$(UNLINKED): tests/api/$(UNLINKED).c $(BUILD)/stage.done $(BUILD)/flags \
		$(PLUGIN) $(PLUGIN_DELETE)
	@mkdir -p $(@D)
	$(call say,CC)$(API_CC) -I$(STAGED)/include -DSFLIGHT_SO='"$(STAGED)/lib/$(SONAME)"' \
		-DPLUGIN='"$(PLUGIN)"' -DPLUGIN_DELETE='"$(PLUGIN_DELETE)"' $(CMOCKA) \
		$(SYSROOT_LINK)

# The archive, where there is a shared library, too.
STAGED_ARCHIVE = $$($(STAGED_PKG) --static | sed 's|-lsingleflight|-l:libsingleflight.a|; $(1)')
$(PLUGIN) $(PLUGIN_DELETE): tests/lib/plugin.c $(BUILD)/stage.done $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(filter-out -Iinclude,$(CFLAGS_ALL)) -shared -fPIC -o $@ $< \
		$(call STAGED_ARCHIVE,$(if $(filter %-delete.so,$@),s|[^ ]*nodelete||)) $(LIB_DIRS) $(SYSROOT_LINK)

$(BUILD)/plain/unit/%: tests/unit/%.c $(OBJ) $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) -Isrc -MMD -MP -MF $@.d -o $@ $< $(OBJ) $(CMOCKA) $(LIB_DEPS)

# ------------------------------------------------------------------------------------- variants
define test_variant
# Not where BUILD=$(BUILD)/$(1) has those of a library.
$(1)_OBJ := $(patsubst %.c,$(BUILD)/$(1)/obj/%.o,$(SRC) $($(1)_SRC))
.SECONDARY: $$($(1)_OBJ)

$$($(1)_OBJ): $(BUILD)/$(1)/obj/%.o: %.c $(BUILD)/flags tests/tests.mk
	@mkdir -p $$(@D)
	$$(call say,CC)$$($(1)_CC) $$(CFLAGS_ALL) $$($(1)_FLAGS) -MMD -MP -c -o $$@ $$<

$(BUILD)/$(1)/api/%: tests/api/%.c $$($(1)_OBJ)
	@mkdir -p $$(@D)
	$$(call say,CC)$$($(1)_CC) $$(CFLAGS_ALL) $$($(1)_FLAGS) -MMD -MP -MF $$@.d -o $$@ $$< \
		$$($(1)_OBJ) -lcmocka $$(LIB_DEPS)

$(BUILD)/$(1)/unit/%: tests/unit/%.c $$($(1)_OBJ)
	@mkdir -p $$(@D)
	$$(call say,CC)$$($(1)_CC) $$(CFLAGS_ALL) $$($(1)_FLAGS) -Isrc -MMD -MP -MF $$@.d -o $$@ $$< \
		$$($(1)_OBJ) -lcmocka $$(LIB_DEPS)

$(1)_UNIT ?= $(UNIT_TESTS)
$(1)_API := $(filter-out $(UNLINKED) $($(1)_WITHOUT),$(API_TESTS))
$(1)_PROGRAMS := $$(call unit_programs,$(1),$$($(1)_UNIT)) $$(call api_programs,$(1),$$($(1)_API))
endef
$(foreach v,$(TEST_VARIANTS),$(eval $(call test_variant,$(v))))

plain_API := $(call api_programs,plain,$(API_TESTS))
plain_UNIT := $(call unit_programs,plain,$(UNIT_TESTS))
ALL_PROGRAMS := $(foreach v,$(TEST_VARIANTS),$($(v)_PROGRAMS)) $(plain_API) $(plain_UNIT)

-include $(wildcard $(addsuffix .d,$(ALL_PROGRAMS)) \
	$(foreach v,$(TEST_VARIANTS),$($(v)_OBJ:.o=.d)))

# ------------------------------------------------------------------------------------------ run
# A program that hangs is wedged: that, too, is a failure.  KILL, as it takes with it all that
# the program has forked; prove waits for everybody who holds its pipe.
TEST_JOBS ?= 2
TEST_LIMIT_S ?= 600
PROVE = CMOCKA_MESSAGE_OUTPUT=TAP BUILD=$(BUILD) UBSAN_OPTIONS=print_stacktrace=1 \
	prove -j$(TEST_JOBS) --timer --exec 'timeout -s KILL $(TEST_LIMIT_S)'

.PHONY: test-api
test-api: $(plain_API) ## Run the API tests against the installed library
	$(PROVE) $(plain_API)

.PHONY: test-unit
test-unit: $(plain_UNIT) ## Run the tests of the rooms inside src/
	$(PROVE) $(plain_UNIT)

.PHONY: $(TEST_VARIANTS:%=test-%)
test-tsan: $(tsan_PROGRAMS) ## Run the API and unit tests under ThreadSanitizer
test-asan: $(asan_PROGRAMS) ## Run the API and unit tests under AddressSanitizer and UBSan
test-hooks: $(hooks_PROGRAMS) ## Run the API tests with every group on a runtime of hooks
test-collide: $(collide_PROGRAMS) ## Run the API tests and those of calls with all keys in one bucket
test-debug: $(debug_PROGRAMS) ## Run the API tests with the library that tells of wrong use
test-clang: $(clang_PROGRAMS) ## Run the API and unit tests compiled by clang
$(TEST_VARIANTS:%=test-%): test-%:
	$(PROVE) $($*_PROGRAMS)

# The same, with fewer rounds, on a machine that has other things to do: all on one CPU, beside four
# loops that want it as well and end when this shell has, however it does.
.PHONY: test-busy
test-busy: TEST_JOBS := 8
test-busy: $(plain_API) $(plain_UNIT) ## Run the API and unit tests on one CPU that others keep busy
	@taskset -cp "$$(taskset -cp $$$$ | sed 's/.*: *\([0-9]*\).*/\1/')" $$$$ >/dev/null; \
	trap 'kill $$(jobs -p)' EXIT; \
	for loop in 1 2 3 4; do \
		while kill -0 $$$$; do for i in {1..100000}; do :; done; done 2>/dev/null & \
	done; \
	SFLIGHT_TEST_SLOW=5 $(PROVE) $(plain_API) $(plain_UNIT)

INSTALL_TESTS := $(sort $(wildcard tests/install/test_*.sh))

.PHONY: test-install
test-install: lib ## Install, use and uninstall; build in unusual ways; older and newer structs
	$(PROVE) $(INSTALL_TESTS)

.PHONY: test-checks
test-checks: check ## The same as check

.PHONY: test-programs
test-programs: $(ALL_PROGRAMS)

# The programs are compiled in parallel even if make was not told so.
.PHONY: test-all
test-all: lib
	@$(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(TEST_JOBS)) \
		test-programs
	@$(PROVE) $(INSTALL_TESTS) $(ALL_PROGRAMS)
