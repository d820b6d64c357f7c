# SPDX-License-Identifier: BSD-2-Clause
# Seeded faults, each of which a test must notice; README.md says how.

# Names, with wildcards: make mutants MUTANTS='store-* *fence*'
MUTANTS ?=

.PHONY: mutants
mutants: ## Seed faults into copies of the project; each must be caught (MUTANTS='name...' for some)
	@BUILD=$(BUILD) tests/mutants/run $(foreach name,$(MUTANTS),'$(name)')

.PHONY: explore-faults
explore-faults: ## Of these faults those that the explorer must find; says with which schedule
	@BUILD=$(BUILD) tests/mutants/run --gate explore $(foreach name,$(MUTANTS),'$(name)')

.PHONY: mutants-orders
mutants-orders: ## Weaken every memory order of src/, one at a time; lists which of them the explorer misses
	@BUILD=$(BUILD) tests/mutants/run --orders $(foreach name,$(MUTANTS),'$(name)')
