# SPDX-License-Identifier: BSD-2-Clause
# The fleet demo: the shop by prefork workers, PostgreSQL, and an engine where they meet.

FLEET_DEMO := $(BUILD)/fleet-demo
FLEET_DEMO_SERVER_SRC := tools/fleet/server.c tools/event/shop_pg.c \
	$(addprefix tools/demo/,metrics.c page.c page_cache.c web.c)
FLEET_DEMO_H := $(wildcard tools/demo/*.h tools/event/shop_pg.h) $(wildcard include/*.h)

$(FLEET_DEMO)/fleet-server: $(FLEET_DEMO_SERVER_SRC) $(FLEET_A) $(LIB_A) $(FLEET_DEMO_H)
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) $(EVENT_CFLAGS) $(LDFLAGS) -o $@ $(FLEET_DEMO_SERVER_SRC) \
		$(FLEET_A) $(LIB_A) $(FLEET_DEPS) $(LIB_DEPS) -lmicrohttpd -lpq -ljemalloc

$(FLEET_DEMO)/driver: tools/fleet/driver.c tools/demo/client.c $(FLEET_DEMO_H)
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) $(EVENT_CFLAGS) $(LDFLAGS) -o $@ $(filter %.c,$^) \
		-lcurl -lpq -ljemalloc

.PHONY: demo-fleet
demo-fleet: demo-fleet-run ## Install what the fleet demo needs, then run it; ENGINE=ADDRESS: on your Redis

# ENGINE=unix:/run/redis/redis.sock or tcp:HOST:PORT: there, and not on one of the demo's own.
.PHONY: demo-fleet-run
demo-fleet-run: $(FLEET_DEMO)/fleet-server $(FLEET_DEMO)/driver
	@tools/event/postgres run tools/fleet/run $(if $(ENGINE),--engine $(ENGINE)) \
		$(FLEET_DEMO)/fleet-server $(FLEET_DEMO)/driver $(FLEET_DEMO)
	@gnuplot -c tools/fleet/chart.gp $(FLEET_DEMO)
	@echo; echo 'chart: $(FLEET_DEMO)/fleet.svg and $(FLEET_DEMO)/fleet.png'

.PHONY: demo-fleet-check
demo-fleet-check: $(FLEET_DEMO)/fleet-server ## Test the fleet demo's server
	@timeout -k 10 900 tools/event/postgres run tools/fleet/engine run tools/fleet/check $<
