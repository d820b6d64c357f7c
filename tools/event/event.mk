# SPDX-License-Identifier: BSD-2-Clause
# The event demo: the shop on one thread, libuv and PostgreSQL; and the example for epoll.

EVENT := $(BUILD)/event
EVENT_SRC := $(wildcard tools/event/*.c) $(addprefix tools/demo/,metrics.c page.c page_cache.c)
EVENT_H := $(wildcard tools/event/*.h tools/demo/*.h) include/singleflight.h
EVENT_LIBS := -luv -lpq -lhttp_parser
EVENT_CFLAGS = -isystem $(shell pg_config --includedir)

$(EVENT)/event-server: $(EVENT_SRC) $(LIB_A) $(EVENT_H)
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) $(EVENT_CFLAGS) $(LDFLAGS) -o $@ $(EVENT_SRC) $(LIB_A) \
		$(LIB_DEPS) $(EVENT_LIBS) -ljemalloc

# The same, and the library, under AddressSanitizer and UBSan.
$(EVENT)/asan/event-server: $(EVENT_SRC) $(asan_OBJ) $(EVENT_H)
	@mkdir -p $(@D)
	$(call say,CC)$(asan_CC) $(CFLAGS_ALL) $(EVENT_CFLAGS) $(asan_FLAGS) $(LDFLAGS) -o $@ \
		$(EVENT_SRC) $(asan_OBJ) $(LIB_DEPS) $(EVENT_LIBS)

.PHONY: demo-event-run
demo-event-run: $(EVENT)/event-server $(DEMO)/web12.trace
	@tools/event/postgres run tools/event/run $(EVENT)/event-server $(DEMO)/web12.trace $(EVENT)
	@gnuplot -c tools/demo/chart.gp $(EVENT)/event 'none singleflight' 'statements for 100 requests'
	@echo; echo 'chart: $(EVENT)/event.svg and $(EVENT)/event.png'

EVENT_CHECK = timeout -k 10 300 tools/event/postgres run tools/event/check
.PHONY: event-check
event-check: $(EVENT)/event-server $(EVENT)/asan/event-server $(DEMO)/web12.trace ## Test the event demo's server
	@$(EVENT_CHECK) $(EVENT)/event-server $(DEMO)/web12.trace
	@echo 'under AddressSanitizer and UBSan:'
	@$(EVENT_CHECK) $(EVENT)/asan/event-server $(DEMO)/web12.trace
