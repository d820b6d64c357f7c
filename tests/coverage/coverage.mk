# SPDX-License-Identifier: BSD-2-Clause
# Which lines and branches of src/ the tests reach: API and unit tests, and the C API used from C++; and which
# of src/fleet/ those of tests/fleet.  Included after tests/tests.mk and tests/fleet/fleet.mk.

COVERAGE_LINES := 98
COVERAGE_BRANCHES := 95
COVERAGE_FLEET_LINES := 95
COVERAGE_FLEET_BRANCHES := 85

# A function that is inlined wherever it is used would be counted once for each place.
COVERAGE_FLAGS := -O0 --coverage -fprofile-update=atomic -Dalways_inline=unused
COVERAGE_OBJ := $(SRC:%.c=$(BUILD)/coverage/%.o)
COVERAGE_PROGRAMS := $(call api_programs,coverage,$(filter-out $(UNLINKED),$(API_TESTS))) \
	$(call unit_programs,coverage,$(UNIT_TESTS)) \
	$(BUILD)/coverage/hpp/c_api $(BUILD)/coverage/hpp/callbacks
# For what ends in other ways than by exit().
COVERAGE_DUMP := $(BUILD)/coverage/dump.o
COVERAGE_LINK := $(COVERAGE_DUMP) -lgcov -Wl,--wrap=_exit,--wrap=abort
.SECONDARY: $(COVERAGE_OBJ) $(COVERAGE_DUMP)

$(BUILD)/coverage/src/%.o: src/%.c $(BUILD)/flags tests/coverage/coverage.mk
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) $(COVERAGE_FLAGS) -MMD -MP -c -o $@ $<

$(COVERAGE_DUMP): tests/coverage/dump.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) -c -o $@ $<

$(BUILD)/coverage/%: tests/%.c $(COVERAGE_OBJ) $(COVERAGE_DUMP)
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) -Isrc -MMD -MP -MF $@.d -o $@ $< $(COVERAGE_OBJ) \
		$(COVERAGE_LINK) -lcmocka $(LIB_DEPS)

COVERAGE_FLEET_OBJ := $(FLEET_SRC:%.c=$(BUILD)/coverage/%.o)
.SECONDARY: $(COVERAGE_FLEET_OBJ)
$(BUILD)/coverage/fleet/%: tests/fleet/%.c $(COVERAGE_FLEET_OBJ) $(COVERAGE_OBJ) $(COVERAGE_DUMP)
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) $(FLEET_TEST_FLAGS) -MMD -MP -MF $@.d -o $@ $< $(COVERAGE_FLEET_OBJ) \
		$(COVERAGE_OBJ) $(COVERAGE_LINK) -lcmocka $(LIB_DEPS) $(FLEET_DEPS)

$(BUILD)/coverage/hpp/%: tests/hpp/%.cpp $(COVERAGE_OBJ) $(COVERAGE_DUMP)
	@mkdir -p $(@D)
	$(call say,CXX)$(CXX) $(CXXFLAGS_ALL) -MMD -MP -MF $@.d -o $@ $< $(COVERAGE_OBJ) $(COVERAGE_LINK) \
		$(LIB_DEPS)

# Without the one that has millions of states.
coverage_FLEET_WITHOUT := test_flight_interleavings
COVERAGE_FLEET := $(call fleet_programs,coverage)
-include $(wildcard $(COVERAGE_OBJ:.o=.d) $(COVERAGE_FLEET_OBJ:.o=.d) \
	$(addsuffix .d,$(COVERAGE_PROGRAMS) $(COVERAGE_FLEET)))

.PHONY: coverage
coverage: $(COVERAGE_PROGRAMS) ## Run API and unit tests, show which of src/ they reach, insist on most of it
	@find $(BUILD)/coverage -name '*.gcda' -delete
	$(PROVE) $(COVERAGE_PROGRAMS)
	@export BUILD=$(BUILD); report='tests/coverage/report $(COVERAGE_LINES) $(COVERAGE_BRANCHES)'; \
	$$report || { \
		echo 'coverage: once more, on top of that: some lines are reached in most runs only'; \
		$(PROVE) $(COVERAGE_PROGRAMS) && $$report; \
	}

.PHONY: coverage-fleet
coverage-fleet: $(COVERAGE_FLEET) $(FLEET_SKEW) ## Run the tests of the fleet, show which of src/fleet they reach, insist on most
	@find $(BUILD)/coverage -name '*.gcda' -delete
	$(PROVE) $(COVERAGE_FLEET)
	@BUILD=$(BUILD) tests/coverage/report $(COVERAGE_FLEET_LINES) $(COVERAGE_FLEET_BRANCHES) src/fleet
