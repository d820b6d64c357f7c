# SPDX-License-Identifier: BSD-2-Clause
# The examples, built as a user would, with the library as `make install` leaves it: in C11, which
# says itself what it needs of POSIX, and C++17.

# README's first program.
$(BUILD)/examples/hello.c: README.md
	@mkdir -p $(@D)
	@sed -n '\|^/\* hello\.c|,/^```/p' $< | sed '/^```/d' >$@

# Each loop with what it is linked with.  In the order of README.md there.
EXAMPLE_LOOPS := epoll libuv libevent glib sd_event asio io_uring
EXAMPLE_PKG_libuv := libuv
EXAMPLE_PKG_libevent := libevent_core
EXAMPLE_PKG_glib := glib-2.0
EXAMPLE_PKG_sd_event := libsystemd
EXAMPLE_PKG_io_uring := liburing

example_pkg = $(if $(1),$$(pkg-config --cflags --libs $(1)))
EXAMPLE_LINK = $$($(STAGED_PKG)) $(call example_pkg,$(EXAMPLE_PKG_$(@F))) -Wl,-rpath,$(STAGED)/lib
define example_cc
	@mkdir -p $(@D)
	$(call say,CC)$(filter-out -std=gnu11 -D_GNU_SOURCE,$(API_CC)) -std=c11 $(EXAMPLE_LINK)
endef

$(BUILD)/examples/hello: $(BUILD)/examples/hello.c $(BUILD)/stage.done $(BUILD)/flags
	$(example_cc)

$(BUILD)/examples/%: tools/examples/%.c $(BUILD)/stage.done $(BUILD)/flags
	$(example_cc)

$(BUILD)/examples/%: tools/examples/%.cpp $(BUILD)/stage.done $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CXX)$(CXX) $(filter-out -Iinclude,$(CXXFLAGS_ALL)) -o $@ $< $(EXAMPLE_LINK)

# check_loop NAME: what an event loop says, whatever its order, and how long it is.
define check_loop
	@said=$$(timeout 60 $(BUILD)/examples/$(1)); rc=$$?; source=$$(ls tools/examples/$(1).c*); \
		if [ $$rc = 77 ]; then echo "ok - $$source # SKIP the system refuses io_uring"; exit; fi; \
		[ $$rc = 0 ] && diff <(sort <<<"$$said") - \
			<<<$$'client 0: page 2\nclient 1: page 1\nclient 2: page 2\nclient 3: page 2' && \
		[ "$$(wc -l <$$source)" -le 60 ] && echo "ok - $$source"

endef

.PHONY: example-check
example-check: $(addprefix $(BUILD)/examples/,hello $(EXAMPLE_LOOPS) hang_up) ## Run the examples
	@said=$$(timeout 60 $(BUILD)/examples/hello) && \
		diff <(sed 's/, made here$$//' <<<"$$said") <(yes '200 Hello' | head -n 8) && \
		grep -q ', made here$$' <<<"$$said" && echo 'ok - the first program of README.md'
	$(foreach loop,$(EXAMPLE_LOOPS),$(call check_loop,$(loop)))
	@said=$$(timeout 60 $(BUILD)/examples/hang_up) && diff <(LC_ALL=C sort <<<"$$said") - \
		<<<$$'/b: called off\nclient 0 hangs up\nclient 1 hangs up\nclient 2: page /a\nclient 3: page /b' && \
		echo 'ok - tools/examples/hang_up.c'
