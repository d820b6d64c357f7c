# SPDX-License-Identifier: BSD-2-Clause
# The examples, built as a user would, with the library as `make install` leaves it: in C11, which
# says itself what it needs of POSIX.

# README's first program.
$(BUILD)/examples/hello.c: README.md
	@mkdir -p $(@D)
	@sed -n '\|^/\* hello\.c|,/^```/p' $< | sed '/^```/d' >$@

define example_cc
	@mkdir -p $(@D)
	$(call say,CC)$(filter-out -std=gnu11 -D_GNU_SOURCE,$(API_CC)) -std=c11 $$($(STAGED_PKG)) \
		-Wl,-rpath,$(STAGED)/lib
endef

$(BUILD)/examples/hello: $(BUILD)/examples/hello.c $(BUILD)/stage.done $(BUILD)/flags
	$(example_cc)

$(BUILD)/examples/%: tools/examples/%.c $(BUILD)/stage.done $(BUILD)/flags
	$(example_cc)

$(BUILD)/examples/rocksdb: tools/examples/rocksdb.cpp $(BUILD)/stage.done $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CXX)$(CXX) $(filter-out -Wpedantic -Iinclude,$(CXXFLAGS_ALL)) -o $@ $< $$($(STAGED_PKG)) \
		-Wl,-rpath,$(STAGED)/lib -lrocksdb

.PHONY: example-check
example-check: $(addprefix $(BUILD)/examples/,hello epoll hang_up rocksdb) ## Run the examples
	@said=$$(timeout 60 $(BUILD)/examples/hello) && \
		diff <(sed 's/, made here$$//' <<<"$$said") <(yes '200 Hello' | head -n 8) && \
		grep -q ', made here$$' <<<"$$said" && echo 'ok - the first program of README.md'
	@said=$$(timeout 60 $(BUILD)/examples/epoll) && diff <(sort <<<"$$said") - \
		<<<$$'client 0: page 2\nclient 1: page 1\nclient 2: page 2\nclient 3: page 2' && \
		[ "$$(wc -l <tools/examples/epoll.c)" -le 60 ] && echo 'ok - tools/examples/epoll.c'
	@said=$$(timeout 60 $(BUILD)/examples/hang_up) && diff <(LC_ALL=C sort <<<"$$said") - \
		<<<$$'/b: called off\nclient 0 hangs up\nclient 1 hangs up\nclient 2: page /a\nclient 3: page /b' && \
		echo 'ok - tools/examples/hang_up.c'
	@said=$$(timeout 120 $(BUILD)/examples/rocksdb $(BUILD)/examples/rocksdb.db) && \
		diff - <<<'1280 right answers, 20 reads' <(echo "$$said") && echo 'ok - tools/examples/rocksdb.cpp'
