# SPDX-License-Identifier: BSD-2-Clause
# One variant more, to be included after tests/tests.mk: every key has the same hash, so that all
# calls of a group stand in one bucket, and only comparing whole keys tells them apart.

COLLIDE_FLAGS := -DSFLIGHT_TEST_HASH=42 $(asan_FLAGS)
COLLIDE_OBJ := $(SRC:%.c=$(BUILD)/collide/%.o)
# test_threads measures memory, which here waits for its grace period; test_future has 100,000 calls
# in flight, which here are one chain.
COLLIDE_PROGRAMS := $(addprefix $(BUILD)/collide/unit/,$(filter test_call%,$(UNIT_TESTS))) \
	$(addprefix $(BUILD)/collide/api/,$(filter-out $(UNLINKED) test_threads test_future,$(API_TESTS)))
.SECONDARY: $(COLLIDE_OBJ)

$(BUILD)/collide/src/%.o: src/%.c $(BUILD)/flags tests/unit/unit.mk
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) $(COLLIDE_FLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/collide/%: tests/%.c $(COLLIDE_OBJ)
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) $(COLLIDE_FLAGS) -Isrc -MMD -MP -MF $@.d -o $@ $< \
		$(COLLIDE_OBJ) -lcmocka $(LIB_DEPS)

-include $(wildcard $(COLLIDE_OBJ:.o=.d) $(addsuffix .d,$(COLLIDE_PROGRAMS)))

.PHONY: test-collide
test-collide: $(COLLIDE_PROGRAMS) ## Run API and call tests with all keys in one bucket
	$(PROVE) $(COLLIDE_PROGRAMS)

# Another one: every group has a runtime, whose tasks are the threads.
RUNTIME_FLAGS := -DSFLIGHT_TEST_RUNTIME=thread_runtime $(asan_FLAGS)
RUNTIME_OBJ := $(SRC:%.c=$(BUILD)/runtime/%.o) $(BUILD)/runtime/tests/lib/thread_runtime.o
# test_threads measures memory; test_runtime has runtimes of its own.
RUNTIME_PROGRAMS := $(addprefix $(BUILD)/runtime/api/,$(filter-out $(UNLINKED) test_threads test_runtime,$(API_TESTS)))
.SECONDARY: $(RUNTIME_OBJ)

$(RUNTIME_OBJ): $(BUILD)/runtime/%.o: %.c $(BUILD)/flags tests/unit/unit.mk
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) $(RUNTIME_FLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/runtime/api/%: tests/api/%.c $(RUNTIME_OBJ)
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) $(RUNTIME_FLAGS) -MMD -MP -MF $@.d -o $@ $< \
		$(RUNTIME_OBJ) -lcmocka $(LIB_DEPS)

-include $(wildcard $(RUNTIME_OBJ:.o=.d) $(addsuffix .d,$(RUNTIME_PROGRAMS)))

.PHONY: test-hooks
test-hooks: $(RUNTIME_PROGRAMS) ## Run the API tests with every group on a runtime of hooks
	$(PROVE) $(RUNTIME_PROGRAMS)

# test-all builds and runs these as well.
ALL_PROGRAMS += $(COLLIDE_PROGRAMS) $(RUNTIME_PROGRAMS)
test-programs: $(COLLIDE_PROGRAMS) $(RUNTIME_PROGRAMS)
