#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# libsingleflight-fleet beside the other library, as a stranger installs and uses it: by pkg-config and by
# CMake, shared and static.  Prints TAP.  BUILD says where make builds.
. "$(dirname "$0")/tap.sh"

if ! pkg-config --exists hiredis; then
    skip 'libsingleflight-fleet' 'there is no hiredis'
    finish
fi
version=$(sed -n 's/^#define SFLIGHT_VERSION_[A-Z]* \([0-9]*\)$/\1/p' include/singleflight.h | paste -sd.)
warnings='-std=c11 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror'
prefix=$work/prefix
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig

# use NAME FLAGS...
use() {
    local program=$work/$1
    shift
    # shellcheck disable=SC2086
    gcc $warnings -o "$program" tests/install/fleet.c "$@" && [ "$("$program")" = "$version" ]
}
shared() {
    # shellcheck disable=SC2046
    use shared $(pkg-config --cflags --libs singleflight-fleet) -Wl,-rpath,"$prefix/lib"
}
static() {
    # shellcheck disable=SC2046
    use static -static $(pkg-config --static --cflags --libs singleflight-fleet)
}
# archives: of these two libraries only.
archives() {
    # shellcheck disable=SC2046
    use archives $(pkg-config --static --cflags --libs singleflight-fleet |
        sed 's/-l\(singleflight[a-z-]*\)/-l:lib\1.a/g') && ! ldd "$work/archives" | grep singleflight
}
by_cmake() {
    env -u MAKEFLAGS cmake -S tests/install/cmake -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" \
        -DASK='COMPONENTS fleet fleet_static' && env -u MAKEFLAGS cmake --build "$work/cmake" || return
    local kind
    for kind in fleet fleet_static; do
        [ "$("$work/cmake/c-$kind")" = "$version" ] || return
    done
    readelf -dW "$work/cmake/c-fleet" | grep 'NEEDED.*libsingleflight-fleet\.so' &&
        ! readelf -dW "$work/cmake/c-fleet_static" | grep 'NEEDED.*libsingleflight'
}
empty() {
    local left
    left=$(find "$prefix" ! -type d)
    echo "$left"
    [ -z "$left" ]
}

check 'make install-fleet' quiet_make install-fleet PREFIX="$prefix"
check 'pkg-config, shared' shared
check 'pkg-config, with the archives of both' archives
if echo 'int main(void) { return 0; }' | gcc -static -xc -o "$work/probe" - -lhiredis 2>"$work/log"; then
    check 'pkg-config, static' static
else
    skip 'pkg-config, static' 'there is no archive of hiredis'
fi
if command -v cmake >/dev/null; then
    check 'CMake, shared and static' by_cmake
else
    skip 'CMake, shared and static' 'there is no cmake'
fi
check 'make uninstall' quiet_make uninstall PREFIX="$prefix"
check '... leaves nothing' empty
finish
