# SPDX-License-Identifier: BSD-2-Clause
# options.runtime with runtimes that others wrote.  Sanitizers do not know how these switch stacks.

RUNTIME_TESTS := $(addprefix $(BUILD)/tests/runtime/,test_fiber test_pth test_st)

$(BUILD)/tests/runtime/test_fiber: tests/runtime/test_fiber.cpp $(LIB_A) $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CXX)$(CXX) $(CXXFLAGS_ALL) -MMD -MP -MF $@.d -o $@ $< $(LIB_A) \
		-lboost_fiber -lboost_context $(LIB_DEPS)

$(BUILD)/tests/runtime/test_%: tests/runtime/test_%.c $(LIB_A) $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CFLAGS_ALL) -MMD -MP -MF $@.d -o $@ $< $(LIB_A) -l$* -lcmocka $(LIB_DEPS)

-include $(RUNTIME_TESTS:=.d)

.PHONY: test-runtime
test-runtime: $(RUNTIME_TESTS) ## Run the tests with Boost.Fiber, GNU Pth and State Threads
	$(PROVE) $(RUNTIME_TESTS)
