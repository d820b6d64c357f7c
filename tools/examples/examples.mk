# SPDX-License-Identifier: BSD-2-Clause
# The examples, built as a user would, with the library as `make install` leaves it: in C11, which
# says itself what it needs of POSIX, and C++17, coroutines in C++20.

# README's first program.
$(BUILD)/examples/hello.c: README.md
	@mkdir -p $(@D)
	@sed -n '\|^/\* hello\.c|,/^```/p' $< | sed '/^```/d' >$@

# Each loop with what it is linked with.  In the order of README.md there.
EXAMPLE_LOOPS := epoll libuv libevent glib sd_event asio io_uring coroutine
EXAMPLE_PKG_libuv := libuv
EXAMPLE_PKG_libevent := libevent_core
EXAMPLE_PKG_glib := glib-2.0
EXAMPLE_PKG_sd_event := libsystemd
EXAMPLE_PKG_io_uring := liburing

$(BUILD)/examples/%: EXAMPLE_STD := c++17
$(BUILD)/examples/coroutine: EXAMPLE_STD := c++20

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

$(BUILD)/examples/rocksdb: tools/examples/rocksdb.cpp $(BUILD)/stage.done $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CXX)$(CXX) $(filter-out -Wpedantic -Iinclude,$(CXXFLAGS_ALL)) -o $@ $< $$($(STAGED_PKG)) \
		-Wl,-rpath,$(STAGED)/lib -lrocksdb

$(BUILD)/examples/%: tools/examples/%.cpp $(BUILD)/stage.done $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CXX)$(CXX) $(filter-out -Iinclude -std=%,$(CXXFLAGS_ALL)) -std=$(EXAMPLE_STD) -o $@ $< $(EXAMPLE_LINK)

# ----------------------------------------------------------------------------------- languages
# What bindgen makes of the header: every function and every constant must be there, by its name.
$(BUILD)/examples/rust/bindings.rs: include/singleflight.h tools/examples/examples.mk
	@mkdir -p $(@D)
	$(call say,BINDGEN)bindgen $< --allowlist-function 'sflight_.*' --allowlist-type 'sflight_.*' \
		--allowlist-var 'SFLIGHT_.*' -o $@
	@for name in $$(tools/public_api | sed -E 's/.*\b(sflight_[a-z_]+)\(.*/fn:\1/') \
		$$(sed -nE 's/^ +(SFLIGHT_[A-Z_]+) = [0-9].*/const:sflight_[a-z_]*_\1/p; \
			s/^#define (SFLIGHT_[A-Z_]+) [0-9]+$$/const:\1/p' $<); do \
		grep -qE "pub $${name/:/ }\b" $@ || { echo "bindgen does not see $${name#*:}"; exit 1; }; done

$(BUILD)/examples/rust/test: tools/examples/rust/singleflight.rs $(BUILD)/examples/rust/bindings.rs \
		$(BUILD)/stage.done
	$(call say,RUSTC)OUT_DIR=$(abspath $(@D)) rustc --edition 2021 --test -D warnings -o $@ $< \
		-L $(STAGED)/lib -l singleflight -C link-arg=-Wl,-rpath,$(STAGED)/lib

# cgo, with nothing from elsewhere.
GO_TEST = cd tools/examples/go && PKG_CONFIG_PATH=$(STAGED)/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$(STAGE) \
	CGO_CFLAGS='-O2 -g -Wall -Werror' CGO_LDFLAGS=-Wl,-rpath,$(STAGED)/lib GOPROXY=off \
	GOFLAGS=-buildvcs=false GOCACHE=$(abspath $(BUILD))/examples/go-cache timeout 300 go test -count 1 .
PYTHON_TEST = LD_LIBRARY_PATH=$(STAGED)/lib timeout 300 python3 -B tools/examples/python/test_singleflight.py

.PHONY: binding-check
binding-check: $(BUILD)/examples/rust/test $(BUILD)/stage.done ## Test the bindings for Rust, Go and Python
	@said=$$(timeout 300 $< 2>&1) || { echo "$$said"; exit 1; }; echo 'ok - tools/examples/rust'
	@said=$$({ $(GO_TEST); } 2>&1) || { echo "$$said"; exit 1; }; echo 'ok - tools/examples/go'
	@said=$$({ $(PYTHON_TEST); } 2>&1) || { echo "$$said"; exit 1; }; echo 'ok - tools/examples/python'

# ------------------------------------------------------------------------------------------ run
# check_loop NAME: what an event loop says, whatever its order, and how long it is.
define check_loop
	@said=$$(timeout 60 $(BUILD)/examples/$(1)); rc=$$?; source=$$(ls tools/examples/$(1).c*); \
		if [ $$rc = 77 ]; then echo "ok - $$source # SKIP the system refuses io_uring"; exit; fi; \
		[ $$rc = 0 ] && diff <(sort <<<"$$said") - \
			<<<$$'client 0: page 2\nclient 1: page 1\nclient 2: page 2\nclient 3: page 2' && \
		{ [ "$$(wc -l <$$source)" -le 60 ] || { echo "$$source has more than 60 lines"; exit 1; }; } && \
		echo "ok - $$source"

endef

.PHONY: example-check
example-check: $(addprefix $(BUILD)/examples/,hello $(EXAMPLE_LOOPS) hang_up prometheus rocksdb) binding-check ## Run the examples
	@said=$$(timeout 60 $(BUILD)/examples/hello) && \
		diff <(sed 's/, made here$$//' <<<"$$said") <(yes '200 Hello' | head -n 8) && \
		grep -q ', made here$$' <<<"$$said" && echo 'ok - the first program of README.md'
	$(foreach loop,$(EXAMPLE_LOOPS),$(call check_loop,$(loop)))
	@said=$$(timeout 60 $(BUILD)/examples/hang_up) && diff <(LC_ALL=C sort <<<"$$said") - \
		<<<$$'/b: called off\nclient 0 hangs up\nclient 1 hangs up\nclient 2: page /a\nclient 3: page /b' && \
		echo 'ok - tools/examples/hang_up.c'
	@timeout 60 $(BUILD)/examples/prometheus >$(BUILD)/examples/metrics && \
		grep -qx 'sflight_led_total{group="pages"} 0' $(BUILD)/examples/metrics && \
		grep -qx 'sflight_duration_seconds_bucket{group="pages",le="+Inf"} 0' $(BUILD)/examples/metrics && \
		! grep -vE '^(# TYPE )?sflight_[a-z_]+(\{group="pages"(,le="[0-9.e+-]+|,le="\+Inf)?"?\} [0-9.]+| counter| gauge| histogram)$$' \
			$(BUILD)/examples/metrics && \
		[ "$$(wc -l <tools/examples/prometheus.c)" -le 70 ] && echo 'ok - tools/examples/prometheus.c'
	@diff <(sed -n 's/^    uint64_t \([a-z_]*\);.*/\1/p' \
		<(sed -n '/^typedef struct sflight_stats/,/^}/p' include/singleflight.h | \
			sed 's/_ns;/_seconds;/; /total_seconds/d')) \
		<(sed -nE 's/^# TYPE sflight_(.*) (counter|gauge)$$/\1/p' $(BUILD)/examples/metrics | sed 's/_total$$//') && \
		echo 'ok - ... with every statistic'
	@python3 -c 'import json; json.load(open("tools/examples/grafana.json"))' && \
		for name in $$(grep -oE 'sflight_[a-z_]+' tools/examples/grafana.json | sort -u); do \
			grep -q "^$$name{" $(BUILD)/examples/metrics || exit 1; done && \
		echo 'ok - tools/examples/grafana.json'
	@said=$$(timeout 120 $(BUILD)/examples/rocksdb $(BUILD)/examples/rocksdb.db) && \
		diff - <<<'1280 right answers, 20 reads' <(echo "$$said") && echo 'ok - tools/examples/rocksdb.cpp'
