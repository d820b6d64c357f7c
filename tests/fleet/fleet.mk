# SPDX-License-Identifier: BSD-2-Clause
# The tests of libsingleflight-fleet.  Of each variant a program is in $(BUILD)/VARIANT/fleet; the
# variants are those of tests.mk.  FLEET_ENGINE names another server than Redis, such as valkey-server.

FLEET_TESTS := $(sort $(patsubst tests/fleet/%.c,%,$(wildcard tests/fleet/test_*.c)))
FLEET_VARIANTS := asan tsan
# With a sanitizer a child may find its malloc() locked by a thread that it does not have.
asan_FLEET_WITHOUT := test_kill
# ThreadSanitizer wants no fork from a process with threads.
tsan_FLEET_WITHOUT := test_fork test_kill test_flight% test_partition test_servers test_tls
fleet_programs = $(addprefix $(BUILD)/$(1)/fleet/,$(filter-out $($(1)_FLEET_WITHOUT),$(FLEET_TESTS)))
FLEET_PROGRAMS := $(foreach v,$(FLEET_VARIANTS) plain,$(call fleet_programs,$(v)))
FLEET_SKEW := $(abspath $(BUILD))/plain/fleet/skew.so
FLEET_TEST_FLAGS := -Isrc/fleet -DSKEW='"$(FLEET_SKEW)"'

# A server's wall clock.
$(FLEET_SKEW): tests/fleet/skew.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) -shared -fPIC -o $@ $<
$(addsuffix /fleet/test_servers,$(BUILD)/plain $(FLEET_VARIANTS:%=$(BUILD)/%)): | $(FLEET_SKEW)

# Allocations that fail: see its head.
$(addprefix $(BUILD)/,$(addsuffix /fleet/test_nomem,plain coverage $(FLEET_VARIANTS))): private FLEET_DEPS += \
	$(addprefix -Wl$(comma)--wrap=,malloc calloc realloc aligned_alloc strdup)

# Turns of the engine thread are counted: see its head.
$(addprefix $(BUILD)/,$(addsuffix /fleet/test_tls,plain coverage $(FLEET_VARIANTS))): private FLEET_DEPS += \
	$(addprefix -Wl$(comma)--wrap=,poll socket)

$(BUILD)/plain/fleet/%: tests/fleet/%.c $(FLEET_OBJ) $(OBJ) $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) $(FLEET_TEST_FLAGS) -MMD -MP -MF $@.d -o $@ $< $(FLEET_OBJ) $(OBJ) \
		$(CMOCKA) $(LIB_DEPS) $(FLEET_DEPS)

define fleet_variant
$(1)_FLEET_OBJ := $(FLEET_SRC:%.c=$(BUILD)/$(1)/%.o)
.SECONDARY: $$($(1)_FLEET_OBJ)

$$($(1)_FLEET_OBJ): $(BUILD)/$(1)/%.o: %.c $(BUILD)/flags tests/fleet/fleet.mk
	@mkdir -p $$(@D)
	$$(call say,CC)$$($(1)_CC) $$(CFLAGS_ALL) $$($(1)_FLAGS) -MMD -MP -c -o $$@ $$<

$(BUILD)/$(1)/fleet/%: tests/fleet/%.c $$($(1)_FLEET_OBJ) $$($(1)_OBJ)
	@mkdir -p $$(@D)
	$$(call say,CC)$$($(1)_CC) $$(CFLAGS_ALL) $$($(1)_FLAGS) $(FLEET_TEST_FLAGS) -MMD -MP -MF $$@.d -o $$@ $$< \
		$$($(1)_FLEET_OBJ) $$($(1)_OBJ) -lcmocka $$(LIB_DEPS) $$(FLEET_DEPS)

-include $$($(1)_FLEET_OBJ:.o=.d)
endef
$(foreach v,$(FLEET_VARIANTS),$(eval $(call fleet_variant,$(v))))
-include $(FLEET_PROGRAMS:=.d) $(BUILD)/plain/fleet/chaos.d $(BUILD)/asan/fleet/chaos.d

# singleflight_fleet.hpp with each compiler and standard; "bare" ones have neither exceptions nor RTTI.  The
# server is fleet_test.h's, which is C.
FLEET_HPP_std17 := -std=c++17
FLEET_HPP_std20 := -std=c++20
FLEET_HPP_bare := -std=c++20 -fno-exceptions -fno-rtti
FLEET_HPP := $(foreach cxx,g++ clang++,$(foreach v,std17 std20 bare,$(BUILD)/plain/fleet/hpp.$(v).$(cxx)))
FLEET_HPP_SERVER := $(BUILD)/plain/fleet/hpp_server.o

$(FLEET_HPP_SERVER): tests/fleet/hpp_server.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

# fleet_hpp COMPILER VARIANT
define fleet_hpp
$(BUILD)/plain/fleet/hpp.$(2).$(1): tests/fleet/hpp.cpp $(FLEET_HPP_SERVER) $(FLEET_A) $(LIB_A) tests/fleet/fleet.mk
	@mkdir -p $$(@D)
	$$(call say,CXX)$(1) $(CXXFLAGS_ALL) $(FLEET_HPP_$(2)) -MMD -MP -MF $$@.d -o $$@ $$< $(FLEET_HPP_SERVER) \
		$(FLEET_A) $(LIB_A) -lcmocka $(LIB_DEPS) $(FLEET_DEPS)
endef
$(foreach cxx,g++ clang++,$(foreach v,std17 std20 bare,$(eval $(call fleet_hpp,$(cxx),$(v)))))
-include $(FLEET_HPP:=.d) $(FLEET_HPP_SERVER:.o=.d)

.PHONY: test-fleet
test-fleet: fleet $(FLEET_PROGRAMS) $(FLEET_HPP) ## Run the tests of the fleet, with servers of their own
	$(PROVE) $(FLEET_PROGRAMS) $(FLEET_HPP)

# Each round takes some 20 s; the last one begins before the time is over.  Ten minutes more: then it stands still.
CHAOS_SECONDS ?= $(if $(HOURS),$(shell expr $(HOURS) \* 3600),100)
CHAOS_SEED ?= 1
.PHONY: fleet-chaos
fleet-chaos: $(BUILD)/plain/fleet/chaos ## Kill, stop and cut off what a fleet has, for CHAOS_SECONDS or HOURS
	timeout -k 10 $$(($(CHAOS_SECONDS) + 600)) $< $(CHAOS_SECONDS) $(CHAOS_SEED)

# A lease, which is a second, for each.
FLEET_STOPS ?= 1000
.PHONY: fleet-stops
fleet-stops: $(BUILD)/plain/fleet/test_kill ## Stop leaders past their lease FLEET_STOPS times: none publishes
	timeout -k 10 $$((60 + 20 * $(FLEET_STOPS))) $< $(FLEET_STOPS)
