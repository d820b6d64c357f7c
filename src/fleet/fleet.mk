# SPDX-License-Identifier: BSD-2-Clause
# libsingleflight-fleet: a library of its own, which needs hiredis.  `make fleet` builds it, and
# install-fleet installs it beside the other one.

FLEET_SRC := $(sort $(wildcard src/fleet/*.c))
FLEET_OBJ := $(FLEET_SRC:%.c=$(BUILD)/%.o)
FLEET_A := $(BUILD)/libsingleflight-fleet.a
FLEET_SO := $(BUILD)/libsingleflight-fleet.so.$(VERSION)
FLEET_SONAME := $(subst singleflight,singleflight-fleet,$(SONAME))
# Debian 12's hiredis has no TLS; where there is one, it is used.
FLEET_TLS := $(shell pkg-config --exists hiredis_ssl openssl 2>/dev/null && echo hiredis_ssl openssl)
FLEET_DEPS = $(shell pkg-config --libs hiredis $(FLEET_TLS)) -lpthread
FLEET_LDFLAGS = $(subst src/libsingleflight.map,src/fleet/libsingleflight-fleet.map,$(subst \
	$(SONAME),$(FLEET_SONAME),$(LIB_LDFLAGS)))

.PHONY: fleet
fleet: $(FLEET_A) $(FLEET_SO) ## Build libsingleflight-fleet, for many processes; needs hiredis

# As the other archive.
$(FLEET_A:.a=.o): $(FLEET_OBJ)
	$(call say,LD)$(CC) -nostdlib -r -fno-lto -o $@ $^
	@$(OBJCOPY) --localize-hidden $@
	@$(OBJCOPY) --wildcard --globalize-symbol='DW.ref.*' --weaken-symbol='DW.ref.*' $@

$(FLEET_A): $(FLEET_A:.a=.o)
	@rm -f $@
	$(call say,AR)$(AR) rcs $@ $^

$(FLEET_SO): $(FLEET_OBJ) $(LIB_SO) src/fleet/libsingleflight-fleet.map
	$(call say,LD)$(CC) $(CFLAGS) $(LDFLAGS) $(FLEET_LDFLAGS) -pthread -o $@ $(FLEET_OBJ) \
		-L$(BUILD) -lsingleflight $(FLEET_DEPS)
	@ln -sf $(@F) $(BUILD)/$(FLEET_SONAME)
	@ln -sf $(FLEET_SONAME) $(BUILD)/libsingleflight-fleet.so

-include $(FLEET_OBJ:.o=.d)

FLEET_HEADERS := $(wildcard include/singleflight_fleet.*)
FLEET_MAN := $(sort $(wildcard src/fleet/man/*.[37]))

.PHONY: install-fleet
install-fleet: install fleet ## Also install libsingleflight-fleet, its headers, man pages and .pc
	install -m 644 $(FLEET_HEADERS) $(D)$(INCLUDEDIR)
	install -m 644 $(FLEET_A) $(D)$(LIBDIR)
	install -m 755 $(FLEET_SO) $(D)$(LIBDIR)
	ln -sf $(notdir $(FLEET_SO)) $(D)$(LIBDIR)/$(FLEET_SONAME)
	ln -sf $(FLEET_SONAME) $(D)$(LIBDIR)/libsingleflight-fleet.so
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' \
		-e 's|@LIBDIR@|$(call pc_path,$(LIBDIR))|' \
		-e 's|@INCLUDEDIR@|$(call pc_path,$(INCLUDEDIR))|' \
		-e 's|@TLS@|$(if $(FLEET_TLS), $(FLEET_TLS))|' \
		src/fleet/singleflight-fleet.pc.in >$(D)$(LIBDIR)/pkgconfig/singleflight-fleet.pc
	chmod 644 $(D)$(LIBDIR)/pkgconfig/singleflight-fleet.pc
	$(call install_man,$(D)$(MANDIR),$(FLEET_MAN))
	@$(TELL_LINKER)

.PHONY: uninstall-fleet
uninstall-fleet:
	rm -f $(addprefix $(D)$(INCLUDEDIR)/,$(notdir $(FLEET_HEADERS)))
	rm -f $(addprefix $(D)$(LIBDIR)/,$(notdir $(FLEET_A) $(FLEET_SO)) $(FLEET_SONAME) \
		libsingleflight-fleet.so pkgconfig/singleflight-fleet.pc)
	rm -f $(addprefix $(D)$(MANDIR)/man3/,$(notdir $(filter %.3,$(FLEET_MAN))))
	rm -f $(addprefix $(D)$(MANDIR)/man7/,$(notdir $(filter %.7,$(FLEET_MAN))))
uninstall: uninstall-fleet
