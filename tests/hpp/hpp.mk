# SPDX-License-Identifier: BSD-2-Clause
# singleflight.hpp and the C functions used from C++, with g++ and with clang++.

HPP_COMPILERS := g++ clang++
HPP_SRC := $(filter-out tests/hpp/coroutines.cpp,$(sort $(wildcard tests/hpp/*.cpp)))
HPP_BARE := tests/hpp/coroutines.cpp tests/hpp/raii.cpp
HPP_STD20 := tests/hpp/coroutines.cpp
HPP_TESTS := $(foreach cxx,$(HPP_COMPILERS),$(HPP_SRC:tests/hpp/%.cpp=$(BUILD)/tests/hpp/%.$(cxx)) \
	$(HPP_BARE:tests/hpp/%.cpp=$(BUILD)/tests/hpp/%.bare.$(cxx)) \
	$(HPP_STD20:tests/hpp/%.cpp=$(BUILD)/tests/hpp/%.std20.$(cxx)))
# clang 14 has coroutines with its own library only.
HPP_std20_g++ := -std=c++20
HPP_std20_clang++ := -std=c++20 -stdlib=libc++
HPP_BARE_FLAGS := -fno-exceptions -fno-rtti
HEADERS := $(wildcard include/*)

define hpp_rule
$(BUILD)/tests/hpp/%.$(1): tests/hpp/%.cpp $(LIB_A)
	@mkdir -p $$(@D)
	$$(call say,CXX)$(1) $(CXXFLAGS_ALL) -MMD -MP -MF $$@.d -o $$@ $$< $(LIB_A) $(LIB_DEPS)

$(BUILD)/tests/hpp/%.std20.$(1): tests/hpp/%.cpp $(LIB_A)
	@mkdir -p $$(@D)
	$$(call say,CXX)$(1) $(CXXFLAGS_ALL) $(HPP_std20_$(1)) -MMD -MP -MF $$@.d -o $$@ $$< $(LIB_A) $(LIB_DEPS)

$(BUILD)/tests/hpp/%.bare.$(1): tests/hpp/%.cpp $(LIB_A)
	@mkdir -p $$(@D)
	$$(call say,CXX)$(1) $(CXXFLAGS_ALL) $(HPP_std20_$(1)) $(HPP_BARE_FLAGS) -MMD -MP -MF $$@.d -o $$@ $$< \
		$(LIB_A) $(LIB_DEPS)
endef
$(foreach cxx,$(HPP_COMPILERS),$(eval $(call hpp_rule,$(cxx))))
-include $(HPP_TESTS:=.d)

# Each header compiles alone, in every language it is for.
$(BUILD)/tests/hpp/headers: $(HEADERS) tests/hpp/hpp.mk
	@mkdir -p $(@D)
	$(call say,HEADERS)for cc in gcc clang; do \
		for header in $(filter %.h,$(HEADERS)); do \
		$$cc $(WARN) $(WARN_C) -std=c11 -xc -fsyntax-only $$header || exit; done; done
	@for cxx in g++ clang++; do for std in c++17 c++20; do for header in $(HEADERS); do \
		echo "#include \"$$header\"" | $$cxx $(WARN) -std=$$std -Iinclude -I. -xc++ -fsyntax-only - \
			|| exit; done; done; done
	@touch $@

.PHONY: test-hpp
test-hpp: $(HPP_TESTS) $(BUILD)/tests/hpp/headers ## Run the tests of the C++ wrapper
	timeout 300 prove $(HPP_TESTS)
