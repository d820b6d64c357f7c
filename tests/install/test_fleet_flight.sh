#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Flies with libsingleflight-fleet as a stranger has it installed: its headers alone and in both languages,
# shared and with the archives, alone and with a server of the test's own; its man pages; its symbols.
# Prints TAP.  BUILD says where make builds.
. "$(dirname "$0")/tap.sh"

if ! pkg-config --exists hiredis; then
    skip 'libsingleflight-fleet' 'there is no hiredis'
    finish
fi
version=$(sed -n 's/^#define SFLIGHT_VERSION_[A-Z]* \([0-9]*\)$/\1/p' include/singleflight.h | paste -sd.)
warnings='-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror'
prefix=$work/prefix
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
check 'make install-fleet' quiet_make install-fleet PREFIX="$prefix"

# -------------------------------------------------------------- what there is
for file in include/singleflight_fleet.h include/singleflight_fleet.hpp lib/libsingleflight-fleet.a \
    lib/libsingleflight-fleet.so share/man/man7/singleflight_fleet.7 share/man/man3/sflight_fleet_do.3; do
    check "installed: $file" test -s "$prefix/$file"
done
# shellcheck disable=SC2016
check 'a man page that is another one is read as that' bash -c \
    'cd "$0" && mandoc man3/sflight_fleet_complete.3 | grep -q "belongs to the library"' "$prefix/share/man"
check 'the .pc asks for the other library, of hiredis only where archives are linked' bash -c \
    'pkg-config --libs singleflight-fleet | grep -w lsingleflight &&
        ! pkg-config --libs singleflight-fleet | grep hiredis &&
        pkg-config --static --libs singleflight-fleet | grep hiredis'
check 'same version' test "$(pkg-config --modversion singleflight-fleet)" = "$version"
# shellcheck disable=SC2016
check 'no symbol but what the header declares' bash -c '
    diff <(nm -D --defined-only "$0" | awk "\$2 != \"A\" { sub(/@.*/, \"\", \$3); print \$3 }" | sort) \
        <(tools/public_api --names singleflight_fleet.h | sort)' "$prefix/lib/libsingleflight-fleet.so"

# ----------------------------------------------------------- each header alone
for cc in gcc clang; do
    for std in c11 c17; do
        check "singleflight_fleet.h alone, $cc, $std" \
            $cc -std=$std -pedantic-errors $warnings -xc -fsyntax-only "$prefix/include/singleflight_fleet.h"
    done
done
for cxx in g++ clang++; do
    for std in c++17 c++20; do
        for header in singleflight_fleet.h singleflight_fleet.hpp; do
            echo "#include <$header>" >"$work/alone.cpp"
            check "$header alone, $cxx, $std" \
                $cxx -std=$std -pedantic-errors $warnings -I"$prefix/include" -fsyntax-only "$work/alone.cpp"
        done
    done
done

# ------------------------------------------------------------------- programs
mkdir "$work/engine"
engine=${FLEET_ENGINE:-redis-server}
command -v "$engine" >/dev/null || engine=build/fleet/redis-server
address=
if [ -x "$(command -v "$engine")" ]; then
    "$engine" --unixsocket "$work/engine/s" --port 0 --save '' --dir "$work/engine" --daemonize no \
        >"$work/engine/log" 2>&1 &
    engine_pid=$!
    trap 'kill "$engine_pid" 2>/dev/null; wait "$engine_pid" 2>/dev/null; rm -rf "$work"' EXIT
    until [ -S "$work/engine/s" ]; do
        kill -0 "$engine_pid"
    done
    address=unix:$work/engine/s
fi

# flies PROGRAM [ADDRESS]
flies() {
    [ "$("$@")" = "$version" ]
}

# use NAME COMPILER SOURCE FLAGS...: compiles and links a program, which flies alone and with the server.
use() {
    local program=$work/$1 what=$1 compiler=$2 source=$3
    shift 3
    # shellcheck disable=SC2086
    check "$what" $compiler $warnings -o "$program" "tests/install/$source" "$@"
    check '... flies alone' flies "$program"
    if [ -n "$address" ]; then
        check '... leads in a fleet' flies "$program" "$address"
    else
        skip '... leads in a fleet' 'there is no redis-server'
    fi
}

read -ra shared <<<"$(pkg-config --cflags --libs singleflight-fleet) -Wl,-rpath,$prefix/lib"
# Of these two libraries the archives.
read -ra archives <<<"$(pkg-config --static --cflags --libs singleflight-fleet |
    sed 's/-l\(singleflight[a-z-]*\)/-l:lib\1.a/g')"
use 'C, gcc, shared' 'gcc -std=c11' fleet_flight.c "${shared[@]}"
use 'C, clang, archives' 'clang -std=c11' fleet_flight.c "${archives[@]}"
use 'the C header in C++, g++, shared' 'g++ -std=c++17 -xc++' fleet_flight.c "${shared[@]}"
use 'the C header in C++, clang++, archives' 'clang++ -std=c++20 -xc++' fleet_flight.c "${archives[@]}"
use 'C++, g++, archives' 'g++ -std=c++17' fleet_flight.cpp "${archives[@]}"
use 'C++, clang++, shared' 'clang++ -std=c++20' fleet_flight.cpp "${shared[@]}"
check '... needs both shared libraries, and no hiredis of its own' bash -c \
    'needed=$(readelf -dW "$0") && grep "libsingleflight-fleet\.so\." <<<"$needed" && ! grep hiredis <<<"$needed"' \
    "$work/C, gcc, shared"

# ------------------------------------------------------------------ and back
check 'make uninstall' quiet_make uninstall PREFIX="$prefix"
# shellcheck disable=SC2016
check '... leaves nothing' bash -c '[ -z "$(find "$0" ! -type d | tee /dev/stderr)" ]' "$prefix"

finish
