# SPDX-License-Identifier: BSD-2-Clause
BENCH_BASELINE := $(filter-out bench/baseline/check.c,$(wildcard bench/baseline/*.c))
BENCH_BIN := $(addprefix $(BUILD)/bench/,uncontended waiters)

$(BUILD)/bench/%: bench/%.c $(BENCH_BASELINE) bench/baseline/flight.h include/singleflight.h $(LIB_A)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -Ibench -o $@ $< $(BENCH_BASELINE) $(LIB_A) $(LIB_DEPS)

.PHONY: bench
bench: $(BENCH_BIN) ## Compare calls nobody joins, and waiters that do not block, with mutex ports
	LD_PRELOAD=libjemalloc.so.2 $(BUILD)/bench/uncontended
	LD_PRELOAD=libjemalloc.so.2 $(BUILD)/bench/waiters

.PHONY: bench-smoke
bench-smoke: $(BENCH_BIN) ## Run the benchmarks for a moment, for their answers' sake
	$(BUILD)/bench/uncontended 2 1000
	$(BUILD)/bench/waiters 2 1000
