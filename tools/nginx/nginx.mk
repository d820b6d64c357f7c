# SPDX-License-Identifier: BSD-2-Clause
# The nginx module: for Debian's nginx, which tools/bootstrap unpacks and does not install; its tests; the
# demo.

NGINX := $(BUILD)/nginx
# What nginx-dev has: /usr/share/nginx/src where it is installed.
NGINX_DEV ?= build/nginx/debian/usr/share/nginx/src
NGINX_SBIN ?= build/nginx/debian/usr/sbin/nginx
NGINX_MODULE := $(NGINX)/ngx_http_singleflight_module.so
# Where libsingleflight-fleet can be built the module has it; no_fleet: not so.
NGINX_FLEET ?= $(if $(shell pkg-config --exists hiredis 2>/dev/null && echo yes),fleet,no_fleet)
NGINX_FAULTS_SRC := tools/nginx/faults.c
nginx_src = $(filter-out tools/nginx/$(if $(filter $(1),fleet),no_)fleet.c $(NGINX_FAULTS_SRC),$(wildcard tools/nginx/*.c))
NGINX_SRC := $(call nginx_src,$(NGINX_FLEET))
NGINX_OBJS := $(NGINX)/src/objs

$(NGINX_DEV)/conf_flags:
	@echo 'no nginx-dev: tools/bootstrap demo-nginx unpacks it; or say where it is, by NGINX_DEV' >&2; exit 1

# The libraries are inside the module; a package may say how else it gets them.
NGINX_A := $(if $(filter fleet,$(NGINX_FLEET)),$(FLEET_A)) $(LIB_A)
NGINX_FLEET_DEPS = $(if $(filter fleet,$(NGINX_FLEET)),$(FLEET_DEPS))
NGINX_LIBS ?= $(foreach a,$(NGINX_A),$(call from_nginx,$(a))) -Wl,-z,nodelete $(NGINX_FLEET_DEPS) $(LIB_DEPS)

# As the headers of nginx are made: by its configure, for the options that Debian has.  What it notes down is
# relative, so that a copy of the project is built from the copy.
from_nginx = $(shell realpath -m --relative-to=$(NGINX)/src $(1))
$(NGINX_OBJS)/Makefile: tools/nginx/config tools/nginx/nginx.mk $(NGINX_DEV)/conf_flags
	@rm -rf $(NGINX)/src
	@mkdir -p $(NGINX)
	@cp -rL $(NGINX_DEV) $(NGINX)/src
	$(call say,CONF)cd $(NGINX)/src && . ./conf_flags && \
		SFLIGHT_CFLAGS='-I$(call from_nginx,include)' \
		SFLIGHT_LIBS='$(NGINX_LIBS)' SFLIGHT_FLEET=$(NGINX_FLEET) \
		./configure "$${NGX_CONF_FLAGS[@]}" --with-cc-opt='$(CFLAGS) $(CPPFLAGS) $(or $(WERROR),-Wno-error)' \
		--add-dynamic-module=$(call from_nginx,tools/nginx) >configure.log || { tail configure.log; exit 1; }

$(NGINX_MODULE): $(NGINX_OBJS)/Makefile $(NGINX_SRC) $(wildcard tools/nginx/*.h) $(NGINX_A) $(wildcard include/*.h)
	@rm -f $(NGINX_OBJS)/*.so $(NGINX_OBJS)/addon/nginx/*.o
	$(call say,CC)$(MAKE) --no-print-directory -s -C $(NGINX)/src -f objs/Makefile modules
	@cp $(NGINX_OBJS)/$(@F) $@

.PHONY: nginx-module
nginx-module: $(NGINX_MODULE) ## Build the nginx module, for Debian's nginx (tools/nginx)

# The same, and the libraries, under AddressSanitizer and UBSan; nginx itself is as it is.
NGINX_ASAN := $(NGINX)/asan/$(notdir $(NGINX_MODULE))
NGINX_INCLUDES := $(patsubst %,-isystem $(NGINX)/src/%,objs src/core src/event src/os/unix src/http src/http/v2 src/http/modules)
NGINX_NAMES = $(NGINX_OBJS)/$(basename $(notdir $(NGINX_MODULE)))_modules.c
NGINX_CFLAGS = $(filter-out -Wpedantic,$(CFLAGS_ALL)) $(LIB_CFLAGS) -fvisibility=default $(NGINX_INCLUDES)
$(NGINX_ASAN): $(NGINX_MODULE) $(SRC) $(if $(filter fleet,$(NGINX_FLEET)),$(FLEET_SRC))
	@mkdir -p $(@D)
	$(call say,CC)$(asan_CC) $(NGINX_CFLAGS) $(asan_FLAGS) \
		-shared -o $@ $(NGINX_SRC) $(NGINX_NAMES) $(SRC) $(if $(NGINX_FLEET_DEPS),$(FLEET_SRC)) \
		$(NGINX_FLEET_DEPS) $(LIB_DEPS)

# As where libsingleflight-fleet is not there.
NGINX_ALONE := $(NGINX)/no_fleet/$(notdir $(NGINX_MODULE))
$(NGINX_ALONE): $(NGINX_MODULE)
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(NGINX_CFLAGS) -shared -o $@ $(call nginx_src,no_fleet) $(NGINX_NAMES) \
		$(LIB_A) $(LIB_DEPS)

# With the faults that some tests want.
NGINX_FAULTY := $(NGINX)/faults/$(notdir $(NGINX_MODULE))
NGINX_WRAPPED := sflight_complete ngx_handle_read_event getaddrinfo
$(NGINX_FAULTY): $(NGINX_MODULE) $(NGINX_FAULTS_SRC)
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(NGINX_CFLAGS) -shared -o $@ $(NGINX_SRC) $(NGINX_FAULTS_SRC) $(NGINX_NAMES) \
		$(NGINX_WRAPPED:%=-Wl,--wrap=%) $(NGINX_A) $(NGINX_FLEET_DEPS) $(LIB_DEPS)

# nginx keeps memory until the process ends: no leaks are looked for.
.PHONY: nginx-check
nginx-check: $(NGINX_MODULE) $(NGINX_ASAN) $(NGINX_ALONE) $(NGINX_FAULTY) ## Test the nginx module
	@timeout -k 10 600 tools/nginx/check $(NGINX_SBIN) $(NGINX_MODULE)
	@timeout -k 10 600 tools/nginx/check $(NGINX_SBIN) $(NGINX_ALONE) wrong_configurations
	@timeout -k 10 600 tools/nginx/check $(NGINX_SBIN) $(NGINX_FAULTY) faults
	@echo 'under AddressSanitizer and UBSan:'
	@LD_PRELOAD_NGINX=$$($(asan_CC) -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
		timeout -k 10 600 tools/nginx/check $(NGINX_SBIN) $(NGINX_ASAN)

.PHONY: demo-nginx-run
demo-nginx-run: $(NGINX_MODULE)
	@tools/nginx/demo $(NGINX_SBIN) $(NGINX_MODULE) $(NGINX)
	@gnuplot -c tools/nginx/chart.gp $(NGINX)/nginx
	@echo; echo 'chart: $(NGINX)/nginx.svg and $(NGINX)/nginx.png'
