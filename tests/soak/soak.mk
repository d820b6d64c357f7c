# SPDX-License-Identifier: BSD-2-Clause
# `make soak SECONDS=60`, `make soak HOURS=8`: random traffic for that long, then the books.

SECONDS ?= $(if $(HOURS),$(shell expr $(HOURS) \* 3600),60)

$(BUILD)/soak: tests/soak/soak.c $(BUILD)/stage.done $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(API_CC) $$($(STAGED_PKG)) -Wl,-rpath,$(STAGED)/lib -ljemalloc

-include $(BUILD)/soak.d

# Twice the time and a minute: then it stands still.
.PHONY: soak
soak: $(BUILD)/soak ## Random traffic for SECONDS or HOURS: nothing left over, memory flat
	timeout -k 10 $$((2 * $(SECONDS) + 60)) $(BUILD)/soak $(SECONDS)
