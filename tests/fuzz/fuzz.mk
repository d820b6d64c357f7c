# SPDX-License-Identifier: BSD-2-Clause
# A libFuzzer target on top of tests/explore; README.md says what its bytes mean.

FUZZ := $(BUILD)/fuzz
FUZZ_SECONDS ?= 60
FUZZ_CC ?= clang

FUZZ_SRC_OBJ := $(EXPLORE_SRC:src/%.c=$(FUZZ)/src/%.o)
FUZZ_OWN := $(addprefix $(FUZZ)/,sched.o memory.o door.o rules.o fuzz.o)
FUZZ_CFLAGS = $(EXPLORE_CFLAGS) -Wno-unknown-warning-option

# Coverage of the library alone: that of the scheduler says nothing.
$(FUZZ)/src/%.o: src/%.c tests/explore/door.h $(BUILD)/flags tests/fuzz/fuzz.mk
	@mkdir -p $(@D)
	$(call say,CC)$(FUZZ_CC) $(FUZZ_CFLAGS) $(EXPLORE_SEEN) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

$(FUZZ)/rules.o $(FUZZ)/fuzz.o: FUZZ_VIEW := $(EXPLORE_SEEN)
$(FUZZ)/%.o: tests/explore/%.c $(BUILD)/flags tests/fuzz/fuzz.mk
	@mkdir -p $(@D)
	$(call say,CC)$(FUZZ_CC) $(FUZZ_CFLAGS) $(FUZZ_VIEW) -MMD -MP -c -o $@ $<
$(FUZZ)/fuzz.o: tests/fuzz/fuzz.c $(BUILD)/flags tests/fuzz/fuzz.mk
	@mkdir -p $(@D)
	$(call say,CC)$(FUZZ_CC) $(FUZZ_CFLAGS) $(FUZZ_VIEW) -MMD -MP -c -o $@ $<

$(FUZZ)/fuzz: $(FUZZ_SRC_OBJ) $(FUZZ_OWN)
	$(call say,LD)$(FUZZ_CC) $(CFLAGS) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^

-include $(FUZZ_SRC_OBJ:.o=.d) $(FUZZ_OWN:.o=.d)

# The kept corpus is read; what is new goes into the build directory.
.PHONY: fuzz
fuzz: $(FUZZ)/fuzz ## Fuzz callers and schedules (FUZZ_SECONDS=60)
	@mkdir -p $(FUZZ)/new
	nice $(FUZZ)/fuzz -max_total_time=$(FUZZ_SECONDS) -max_len=256 -timeout=60 -print_final_stats=1 \
		-artifact_prefix=$(FUZZ)/ $(FUZZ)/new tests/fuzz/corpus
