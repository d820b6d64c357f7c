# SPDX-License-Identifier: BSD-2-Clause
# The benchmarks; bench/README.md says what each of them asks and how.
#
# STATIC=1 links programs that run on any machine of this architecture by themselves; without
# oneTBB, of which Debian has no archive.

BENCH := $(BUILD)/bench
BENCH_QUESTIONS := uncontended disjoint hotkey busy zipf trace herd timeouts inflight churn memory \
	waiters fibers limits
BENCH_BIN := $(BENCH_QUESTIONS:%=$(BENCH)/%)
BENCH_LIB_OBJ := $(patsubst %.c,$(BENCH)/obj/%.o,$(wildcard bench/lib/*.c))
BENCH_BASE_OBJ := $(patsubst %,$(BENCH)/obj/bench/baseline/flight_%.o,find mutex none sflight urcu \
	$(if $(STATIC),,tbb))
BENCH_LINK := $(if $(STATIC),-static) $(LDFLAGS)
BENCH_LIBS := $(LIB_DEPS) -ljson-c -lgsl -lgslcblas -lurcu -lurcu-cds $(if $(STATIC),,-ltbb) \
	-ljemalloc -lstdc++ -ldl -lm

$(BENCH)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(FLAGS) $(CXX) $(CXXFLAGS_ALL) $(BENCH_LINK)' | cmp -s - $@ || \
		echo '$(FLAGS) $(CXX) $(CXXFLAGS_ALL) $(BENCH_LINK)' >$@

$(BENCH)/obj/%.o: %.c $(BENCH)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(BENCH)/obj/%.o: %.cpp $(BENCH)/flags
	@mkdir -p $(@D)
	$(call say,CXX)$(CXX) $(CXXFLAGS_ALL) -MMD -MP -c -o $@ $<

# The trace is a part of the program that replays it.
$(BENCH)/web12.trace: bench/data/web12.trace.xz
	@mkdir -p $(@D)
	@xz -dc $< >$@

$(BENCH)/obj/bench/trace.o: $(BENCH)/web12.trace
$(BENCH)/obj/bench/trace.o: CPPFLAGS += -DTRACE='"$(abspath $(BENCH)/web12.trace)"'

.SECONDARY: $(BENCH_QUESTIONS:%=$(BENCH)/obj/bench/%.o)
$(BENCH_BIN): $(BENCH)/%: $(BENCH)/obj/bench/%.o $(BENCH_LIB_OBJ) $(BENCH_BASE_OBJ) $(LIB_A)
	$(call say,LD)$(CC) $(CFLAGS) $(BENCH_LINK) -pthread -o $@ $^ $(BENCH_LIBS)

$(BENCH)/fibers: BENCH_LIBS := -lboost_fiber -lboost_context $(BENCH_LIBS)

$(BENCH)/check: $(BENCH)/obj/bench/baseline/check.o $(BENCH_BASE_OBJ) $(LIB_A)
	$(call say,LD)$(CC) $(CFLAGS) $(BENCH_LINK) -pthread -o $@ $^ $(BENCH_LIBS)

.SECONDARY: $(BENCH_LIB_OBJ) $(BENCH_BASE_OBJ)

-include $(wildcard $(BENCH)/obj/bench/*.d $(BENCH)/obj/bench/*/*.d)

.PHONY: bench-smoke
bench-smoke: $(BENCH_BIN) $(BENCH)/check ## Run the benchmarks for a moment, for their answers' sake
	@$(BENCH)/check
	@for q in $(BENCH_QUESTIONS); do \
		$(BENCH)/$$q --smoke >$(BENCH)/smoke.txt || exit; echo "bench-smoke: $$q"; \
	done

.PHONY: bench-programs
bench-programs: $(BENCH_BIN) ## Build the benchmarks; STATIC=1: to be carried to another machine

# ------------------------------------------------------------------------------------------ run
# BENCH_FLAGS goes to every program: BENCH_FLAGS='--rounds 3', '--max 64', '--subjects A,B'.
BENCH_RESULTS := $(BENCH)/results

# Go itself, where it is installed.
GO := $(shell command -v go)
BENCH_GO := $(if $(GO),$(BENCH)/flight-go)
BENCH_GO_QUESTIONS := $(filter-out busy limits,$(BENCH_QUESTIONS))

$(BENCH)/flight-go: bench/go/flight.go
	@mkdir -p $(@D)
	$(call say,GO)GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$(abspath $(BENCH))/go-cache \
		$(GO) build -o $@ $<

.PHONY: bench
bench: bench-run ## Compare with everything one would use instead: a table, charts (some minutes)

.PHONY: bench-run
bench-run: $(BENCH_BIN) $(BENCH_GO) $(BENCH)/web12.trace
	@rm -rf $(BENCH_RESULTS) && mkdir -p $(BENCH_RESULTS)
	@for q in $(BENCH_QUESTIONS); do \
		$(BENCH)/$$q --out $(BENCH_RESULTS) $(BENCH_FLAGS) || exit; \
		case ' $(if $(GO),$(BENCH_GO_QUESTIONS)) ' in *" $$q "*) \
			$(BENCH)/flight-go --out $(BENCH_RESULTS) --trace $(BENCH)/web12.trace $$q || exit; \
			echo;; \
		esac; \
	done
	@bench/report $(BENCH_RESULTS)
	@echo; echo 'everything, with charts (*.svg, *.png): $(BENCH_RESULTS)'

# Everything stays in $(BUILD), which git ignores, but for what the pages show.
.PHONY: bench-keep
bench-keep: ## Put the table and the few charts that the pages show into bench/results
	@bench/report $(BENCH_RESULTS) bench/results

.PHONY: bench-commands
bench-commands: $(BENCH)/trace $(BENCH_GO) $(BENCH)/web12.trace ## Compare whole commands, by hyperfine
	@mkdir -p $(BENCH_RESULTS)
	@hyperfine --warmup 1 --runs 7 --style basic \
		--export-json $(BENCH_RESULTS)/commands.json --export-markdown $(BENCH_RESULTS)/commands.md \
		$(foreach s,singleflight mutex64 mutex1 $(if $(STATIC),,tbb) urcu none,--command-name $(s) \
			'$(BENCH)/trace --rounds 1 --subjects $(s)') \
		$(if $(GO),--command-name go '$(BENCH)/flight-go --rounds 1 --trace $(BENCH)/web12.trace trace')

# --------------------------------------------------------------------------------- instructions
.PHONY: bench-instructions
bench-instructions: $(BENCH)/instructions ## Count the instructions of a call: not 3 % more than noted
	@bench/count_instructions $(BENCH)/instructions bench/instructions.txt

$(BENCH)/instructions: $(BENCH)/obj/bench/instructions.o $(BENCH_BASE_OBJ) $(LIB_A)
	$(call say,LD)$(CC) $(CFLAGS) $(BENCH_LINK) -pthread -o $@ $^ $(BENCH_LIBS)
