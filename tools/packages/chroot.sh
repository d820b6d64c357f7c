# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# Systems to try things in, each a folder: . tools/packages/chroot.sh
# Needs root, debootstrap, and Debian's repository among the machine's own apt sources.

can_chroot() {
    [ "$(id -u)" = 0 ] && command -v debootstrap >/dev/null && [ -n "$(debian_sources)" ]
}

# Debian's repositories of this machine, one a line: address, suite, components.
debian_sources() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(ORIGIN) $(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        sed -n 's/^Debian //p' | sort -u
}

# new_chroot FOLDER SUITE: a copy of a minimal Debian, which is fetched the first time; of this machine's
# release with the updates that the machine gets as well.
new_chroot() {
    local base=${1%/*}/$2 here main
    here=$(. /etc/os-release && echo "$VERSION_CODENAME")
    main=$(debian_sources | awk -v here="$here" '$2 == here { print $1; exit }')
    if [ ! -e "$base/done" ]; then
        rm -rf "$base"
        mkdir -p "$base"
        debootstrap --variant=minbase "$2" "$base/root" "$main" >"$base/log" 2>&1 || {
            tail "$base/log"
            return 1
        }
        if [ "$2" = "$here" ]; then
            debian_sources | awk '{ print "deb", $0 }' >"$base/root/etc/apt/sources.list"
        fi
        apt-config dump | grep -iE '^acquire::[a-z]*::proxy' >"$base/root/etc/apt/apt.conf.d/proxy" || true
        # What is thrown away need not outlast a crash.
        mkdir -p "$base/root/etc/dpkg/dpkg.cfg.d"
        echo force-unsafe-io >"$base/root/etc/dpkg/dpkg.cfg.d/unsafe-io"
        # Nobody starts a server because its package is installed.
        printf '#!/bin/sh\nexit 101\n' >"$base/root/usr/sbin/policy-rc.d"
        chmod 755 "$base/root/usr/sbin/policy-rc.d"
        touch "$base/done"
    fi
    rm -rf "$1"
    cp -a "$base/root" "$1"
    in_chroot "$1" 'apt-get -q update'
}

# in_chroot FOLDER COMMANDS: what they start ends with them.
in_chroot() {
    # shellcheck disable=SC2016
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        unshare --mount --pid --fork --kill-child \
        sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" /bin/sh -ec "$1"' "$1" "$2" </dev/null
}
