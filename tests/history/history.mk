# SPDX-License-Identifier: BSD-2-Clause
# Histories of what callers saw, and the rules that they must keep; included after tests/tests.mk.

HISTORY := $(BUILD)/history
HISTORY_LIMIT_S ?= 300

$(HISTORY)/check: tests/history/check.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) -MMD -MP -MF $@.d -o $@ $<

$(HISTORY)/stress: tests/history/stress.c $(BUILD)/stage.done $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(API_CC) $$($(STAGED_PKG)) -Wl,-rpath,$(STAGED)/lib

-include $(wildcard $(HISTORY)/*.d)

.PHONY: history
history: $(HISTORY)/check $(HISTORY)/stress ## Write histories of random traffic, and check their rules
	@tests/history/selftest $(HISTORY)/check
	@rm -f $(HISTORY)/*.txt
	@timeout -k 10 $(HISTORY_LIMIT_S) $(HISTORY)/stress $(HISTORY)
	@$(HISTORY)/check $(HISTORY)/*.txt

test-all: | history
