# SPDX-License-Identifier: BSD-2-Clause
BENCH_BASELINE := $(filter-out bench/baseline/check.c,$(wildcard bench/baseline/*.c))
BENCH_BIN := $(BUILD)/bench/uncontended

$(BUILD)/bench/%: bench/%.c $(BENCH_BASELINE) bench/baseline/flight.h include/singleflight.h $(LIB_A)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -Ibench -o $@ $< $(BENCH_BASELINE) $(LIB_A) $(LIB_DEPS)

.PHONY: bench
bench: $(BENCH_BIN) ## Compare an uncontended call with mutex ports and with the bare limit
	LD_PRELOAD=libjemalloc.so.2 $(BUILD)/bench/uncontended

.PHONY: bench-smoke
bench-smoke: $(BENCH_BIN) ## Run the benchmarks for a moment, for their answers' sake
	$(BUILD)/bench/uncontended 2 1000
