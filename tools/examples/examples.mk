# SPDX-License-Identifier: BSD-2-Clause
# The examples, built as a user would, with the library as `make install` leaves it.

$(BUILD)/examples/%: tools/examples/%.c $(BUILD)/stage.done $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(API_CC) $$($(STAGED_PKG)) -Wl,-rpath,$(STAGED)/lib

.PHONY: example-check
example-check: $(BUILD)/examples/epoll ## Run the examples
	@said=$$(timeout 60 $<) && diff <(sort <<<"$$said") - \
		<<<$$'client 0: page 2\nclient 1: page 1\nclient 2: page 2\nclient 3: page 2' && \
		[ "$$(wc -l <tools/examples/epoll.c)" -le 60 ] && echo 'ok - tools/examples/epoll.c'
