# SPDX-License-Identifier: BSD-2-Clause
# The benchmark of libsingleflight-fleet: bench/README.md says what it asks and how.

BENCH_FLEET := $(BENCH)/fleet
BENCH_FLEET_OBJ := $(patsubst %.c,$(BENCH)/obj/%.o,$(wildcard bench/fleet/*.c))
BENCH_FLEET_RESULTS := $(BENCH)/results-fleet

$(BENCH_FLEET): $(BENCH_FLEET_OBJ) $(BENCH_LIB_OBJ) $(BENCH_BASE_OBJ) $(FLEET_A) $(LIB_A)
	$(call say,LD)$(CC) $(CFLAGS) $(LDFLAGS) -pthread -o $@ $^ $(FLEET_DEPS) $(BENCH_LIBS)

-include $(wildcard $(BENCH)/obj/bench/fleet/*.d)

.PHONY: bench-fleet
bench-fleet: bench-fleet-run ## Compare a fleet with what is done with Redis without it: a table (three minutes)

# BENCH_FLEET_FLAGS='--tcp --rounds 3'
.PHONY: bench-fleet-run
bench-fleet-run: $(BENCH_FLEET)
	@rm -rf $(BENCH_FLEET_RESULTS) && mkdir -p $(BENCH_FLEET_RESULTS)
	@$(BENCH_FLEET) $(BENCH_FLEET_FLAGS) --out $(BENCH_FLEET_RESULTS)
	@bench/report --targets bench/fleet/targets $(BENCH_FLEET_RESULTS)
	@echo; echo 'everything: $(BENCH_FLEET_RESULTS)'

.PHONY: bench-fleet-smoke
bench-fleet-smoke: $(BENCH_FLEET) ## Run it for a moment, for its answers' sake
	@$(BENCH_FLEET) --smoke >$(BENCH)/smoke-fleet.txt && echo 'bench-fleet-smoke: fleet'
