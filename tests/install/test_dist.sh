#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A release: the same bytes each time and from what it unpacks to; its sums and signatures.  And the names
# that tools/bootstrap knows.  Prints TAP.
. "$(dirname "$0")/tap.sh"

version=$(sed -n 's/^#define SFLIGHT_VERSION_[A-Z]* \([0-9]*\)$/\1/p' include/singleflight.h | paste -sd.)
name=libsingleflight-$version
dist=$work/dist

same() {
    (cd "$1" && sha256sum ./*.tar.* SHA256SUMS) >"$work/one"
    (cd "$2" && sha256sum -c "$work/one")
}
# has FILE...: the tarball has it.
has() {
    tar -tzf "$dist/$name.tar.gz" >"$work/list"
    local file
    for file in "$@"; do
        grep -qx "$name/$file" "$work/list" || { echo "$file"; return 1; }
    done
}

check 'make dist' tools/packages/dist "$dist"
# Another day, another user's habits.
check 'once more' bash -c 'umask 077; TZ=Asia/Tokyo tools/packages/dist "$0"' "$work/again"
check '... the same bytes' same "$dist" "$work/again"
check 'its sums' bash -c 'cd "$0" && sha256sum -c SHA256SUMS' "$dist"
check 'it has the changelog, an ABI dump, a licence, sums of all' has CHANGELOG.md 'tools/abi/0\.1\.0\.abi' LICENSE \
    SHA256SUMS Makefile include/singleflight.h
check '... and nothing of git, nothing built' bash -c '! grep -E "/(\.git|build)/" "$0"' "$work/list"
tar -C "$work" -xf "$dist/$name.tar.xz"
check '... which are right' bash -c 'cd "$0" && sha256sum --quiet -c SHA256SUMS &&
    [ "$(find . -type f | wc -l)" = $(($(wc -l <SHA256SUMS) + 1)) ]' "$work/$name"
check 'an unpacked release is the same release' "$work/$name/tools/packages/dist" "$work/again"
check '... the same bytes' same "$dist" "$work/again"
echo >>"$work/$name/README.md"
check 'another file' "$work/$name/tools/packages/dist" "$work/again"
check '... other bytes' bash -c '! cmp -s "$0" "$1"' "$dist/$name.tar.gz" "$work/again/$name.tar.gz"

# released CHANGE: a copy in which the version is released, says dist.
released() {
    sed -i "s/^## \[$version\] - not released/## [$version] - 2000-01-01/" "$work/$name/CHANGELOG.md"
    rm -f "$work/$name/tools/abi/$version.abi"
    local said
    said=$("$work/$name/tools/packages/dist" "$work/again" 2>&1) && return 1
    grep -q "tools/abi/$version.abi" <<<"$said" || return 1
    touch "$work/$name/tools/abi/$version.abi"
    said=$("$work/$name/tools/packages/dist" "$work/again" 2>&1) && [ -z "$said" ]
}
check 'a version that is released needs its ABI dump' released

# ------------------------------------------------------------------------------------ signatures
if command -v gpg >/dev/null; then
    export GNUPGHOME=$work/gnupg
    mkdir -m 700 "$GNUPGHOME"
    signed() {
        gpg --batch --quiet --passphrase '' --quick-generate-key "$1" ed25519 sign never &&
            tools/packages/dist "$work/signed" "$1"
    }
    verified() {
        local file
        for file in "$work/signed/$name.tar.gz" "$work/signed/$name.tar.xz" "$work/signed/SHA256SUMS"; do
            gpg --batch --verify "$file.asc" "$file" || return
        done
    }
    check 'with a signature' signed releases@example.org
    check '... of each file, which are good' verified
    check '... and the same bytes' same "$dist" "$work/signed"
    check 'a key that there is not' bash -c '! tools/packages/dist "$0" nobody@example.org' "$work/signed"
    gpgconf --kill all
else
    skip 'with a signature' 'there is no gpg'
fi

# --------------------------------------------------------------------------------------- bootstrap
for distribution in debian-12 debian-13 ubuntu-24.04 fedora alpine; do
    check "tools/bootstrap knows what packages are called in $distribution" \
        bash -c 'tools/bootstrap --print "$0" build | grep -x make && tools/bootstrap --print "$0" all bench' \
        $distribution
done
check '... and says so where it does not' bash -c '! tools/bootstrap --print elsewhere build 2>/dev/null'
check 'each name in its table is of a set' bash -c 'comm -13 \
    <(tools/bootstrap --print debian-12 all bench deb arm64 musl coverage | LC_ALL=C sort) \
    <(sed -n "s/^\([^# ][^ ]*\) .*/\1/p" tools/packages/names | LC_ALL=C sort) | { ! grep .; }'
finish
