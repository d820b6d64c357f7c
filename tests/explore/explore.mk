# SPDX-License-Identifier: BSD-2-Clause
# The library's source under a deterministic scheduler; README.md says how.
#
# -fsanitize=thread has the compiler report plain accesses; memory.c is who they are reported to.

EXPLORE := $(BUILD)/explore
EXPLORE_SEEDS ?= 20000
EXPLORE_JOBS ?= 2

# What door.h replaces, door.c has in other versions.
EXPLORE_REPLACED := cpu event_fd futex lock process reclaim require
EXPLORE_SRC := $(filter-out $(EXPLORE_REPLACED:%=src/%.c),$(SRC))
EXPLORE_OBJ := $(EXPLORE_SRC:src/%.c=$(EXPLORE)/src/%.o)
EXPLORE_OWN := $(patsubst tests/explore/%.c,$(EXPLORE)/%.o,$(wildcard tests/explore/*.c))

EXPLORE_CFLAGS = $(CFLAGS_ALL) -O2 -U_FORTIFY_SOURCE -fno-builtin -Wno-pedantic
EXPLORE_SEEN := -include tests/explore/door.h -DSFLIGHT_CHECKED -fsanitize=thread -Wno-unused-value -Wno-shadow -DSWEEP_AT_LEAST=1 \
	-DFAN_OUT=2 -DFUTURE_SPARES=2 -DBLOCK_BYTES=128 -DSTRIPES=1 -DFREEZE_FIRST=2 -DFREEZE_MORE=1 -DREGISTRY_TURNS=0

$(EXPLORE)/src/%.o: src/%.c tests/explore/door.h $(BUILD)/flags tests/explore/explore.mk
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(EXPLORE_CFLAGS) $(EXPLORE_SEEN) -MMD -MP -c -o $@ $<

# Scenarios go through the door as the library does; what is behind it does not.
$(EXPLORE)/rules.o $(filter $(EXPLORE)/scenarios_%,$(EXPLORE_OWN)): EXPLORE_VIEW := $(EXPLORE_SEEN)
$(EXPLORE)/%.o: tests/explore/%.c $(BUILD)/flags tests/explore/explore.mk
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(EXPLORE_CFLAGS) $(EXPLORE_VIEW) -MMD -MP -c -o $@ $<

$(EXPLORE)/explore: $(EXPLORE_OBJ) $(EXPLORE_OWN)
	$(call say,LD)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^

-include $(EXPLORE_OBJ:.o=.d) $(EXPLORE_OWN:.o=.d)

.PHONY: explore
explore: $(EXPLORE)/explore ## Explore schedules of the library's own source (EXPLORE_SEEDS=n for more)
	nice $(EXPLORE)/explore --again tests/explore/seeds --seeds $(EXPLORE_SEEDS) --at-once $(EXPLORE_JOBS)
