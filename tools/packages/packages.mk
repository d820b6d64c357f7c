# SPDX-License-Identifier: BSD-2-Clause
# Releases and packages: README.md here.  URL= is for the scripts, which find it in their environment.

.PHONY: dist
dist: ## Make a release of what is committed, in build/dist; SIGN=KEY: with signatures of that GnuPG key
	tools/packages/dist $(BUILD)/dist $(SIGN)

.PHONY: deb
deb: ## Install what Debian's packages need, then make them, in build/deb
	tools/packages/deb build

.PHONY: deb-check
deb-check: ## Build, install, use and purge Debian's packages in a chroot (root; many minutes)
	$(PROVE_CHROOT) tools/packages/deb-check

.PHONY: trixie-check
trixie-check: ## Build the library in a chroot with Debian 13 (root)
	$(PROVE_CHROOT) tools/packages/trixie-check

.PHONY: trixie-fleet-check
trixie-fleet-check: ## Test the fleet with TLS and Valkey in such a chroot (skipped without root, debootstrap, network)
	$(PROVE_CHROOT) tools/packages/trixie-fleet-check

PROVE_CHROOT = BUILD=$(BUILD) prove --timer -v --exec 'timeout -k 10 3000'
