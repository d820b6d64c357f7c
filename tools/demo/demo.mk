# SPDX-License-Identifier: BSD-2-Clause
# The demo: a small web shop, and the load that shows what coalescing does for it.

DEMO := $(BUILD)/demo
DEMO_H := $(wildcard tools/demo/*.h bench/baseline/*.h) include/singleflight.h
FLIGHT_SRC := $(patsubst %,bench/baseline/flight_%.c,find mutex none sflight)

# demo_cc LIBRARIES: each program is compiled from its sources at once, they are few.
define demo_cc
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) -Ibench/baseline $(LDFLAGS) -o $@ $(filter %.c %.a,$^) $(1)
endef

$(DEMO)/singleflight-server: $(addprefix tools/demo/,server.c gate.c metrics.c page.c page_cache.c \
		shop.c shop_create.c web.c) $(FLIGHT_SRC) $(LIB_A) $(DEMO_H)
	$(call demo_cc,$(LIB_DEPS) -lmicrohttpd -lsqlite3 -ljemalloc)

$(DEMO)/driver: tools/demo/driver.c tools/demo/client.c $(DEMO_H) $(BUILD)/flags
	$(call demo_cc,-lcurl -lsqlite3 -ljemalloc)

$(DEMO)/baseline-check: bench/baseline/check.c $(FLIGHT_SRC) $(LIB_A) $(DEMO_H)
	$(call demo_cc,$(LIB_DEPS))

$(DEMO)/shop.db: $(DEMO)/singleflight-server
	@rm -f $@
	@$< --create-db $@

$(DEMO)/web12.trace: bench/data/web12.trace.xz
	@mkdir -p $(@D)
	@xz -dc $< >$@

.PHONY: demo-run
demo-run: $(addprefix $(DEMO)/,singleflight-server driver shop.db web12.trace)
	@$(DEMO)/driver --server $(DEMO)/singleflight-server --db $(DEMO)/shop.db \
		--trace $(DEMO)/web12.trace --out $(DEMO)
	@gnuplot -c tools/demo/chart.gp $(DEMO)/demo.tsv $(DEMO)/demo \
		'64 connections to singleflight-server, by way to coalesce' \
		'none mutex singleflight' 'database queries'
	@echo; echo 'chart: $(DEMO)/demo.svg and $(DEMO)/demo.png'

.PHONY: demo-check
demo-check: $(addprefix $(DEMO)/,singleflight-server shop.db baseline-check) ## Test the demo's server
	@$(DEMO)/baseline-check
	@tools/demo/check $(DEMO)/singleflight-server $(DEMO)/shop.db
