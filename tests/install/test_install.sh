#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Installs into empty directories, uses what is there as a stranger would, and
# uninstalls.  Prints TAP.  Run it from anywhere; BUILD says where make builds.
. "$(dirname "$0")/tap.sh"

sources=$PWD/tests/install
warnings='-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror'

# use NAME COMPILER SOURCE FLAGS...: compiles, links and runs a consumer.
use() {
    local program=$work/$1 compiler=$2 source=$3 version
    shift 3
    # shellcheck disable=SC2086
    $compiler $warnings -o "$program" "$sources/$source" "$@"
    version=$("$program")
    [ "$version" = "$(pkg-config --modversion singleflight)" ]
}

links_to() {
    local program=$work/$1 pattern=$2
    ldd "$program" | grep "$pattern"
}

empty() {
    local left
    left=$(find "$1" ! -type d)
    echo "$left"
    [ -z "$left" ]
}

# ------------------------------------------------------------- a prefix, shared
prefix=$work/prefix
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
check 'make install PREFIX=...' quiet_make install PREFIX="$prefix"
check 'pkg-config finds it' pkg-config --exists --print-errors singleflight
for file in include/singleflight.h include/singleflight.hpp lib/libsingleflight.a \
    lib/libsingleflight.so share/man/man7/singleflight.7 share/man/man3/sflight_do.3 \
    share/doc/singleflight/examples/epoll.c share/doc/singleflight/examples/runtimes/fiber_runtime.hpp; do
    check "installed: $file" test -s "$prefix/$file"
done
# shellcheck disable=SC2016
reads='cd "$0" && mandoc man3/sflight_complete.3 | grep -q "without blocking"'
check 'a man page that is another one is read as that' bash -c "$reads" "$prefix/share/man"
check 'make man' quiet_make man
check '... and so without installing' bash -c "$reads" "${BUILD:-build}/man"
check 'make html' quiet_make html
# shellcheck disable=SC2016
check '... has a page for each name' bash -c 'for page in src/man/* src/fleet/man/*; do
    grep -q "</html>" "$0/${page##*/}.html" || { echo "$page"; exit 1; }; done' "${BUILD:-build}/html"
# shellcheck disable=SC2016
check '... links to pages that are there' bash -c 'cd "$0" && cat ./*.html | grep -oP "href=\"\K[^\":#]+(?=[\"#])" | sort -u |
    while read -r file; do [ -s "$file" ] || { echo "$file"; exit 1; }; done' "${BUILD:-build}/html"
# shellcheck disable=SC2016
check '... all of them from the index, by one of its names' bash -c 'for page in src/man/* src/fleet/man/*; do
    grep -q "^.so " "$page" || grep -qF "href=\"${page##*/}.html\"" "$0/index.html" || { echo "$page"; exit 1; }
    done' "${BUILD:-build}/html"
check 'no macros in the flags for users' bash -c '! pkg-config --cflags singleflight | grep -e -D'

read -ra flags <<<"$(pkg-config --cflags --libs singleflight) -Wl,-rpath,$prefix/lib"
# A program of the user's that includes a runtime's hooks.
hooked() {
    local hooks=$prefix/share/doc/singleflight/examples/runtimes/$2
    echo "#include \"$hooks\"" | $1 -I"$prefix/include" -fsyntax-only -
}
check 'hooks for Boost.Fiber, from where they are installed' hooked 'g++ -std=c++17 -xc++' fiber_pool.hpp
check 'hooks for GNU Pth' hooked 'gcc -std=gnu11 -xc' pth_runtime.h
check 'hooks for State Threads' hooked 'gcc -std=gnu11 -xc' st_runtime.h
for cc in gcc clang; do
    check "C program, $cc, shared" use "c-$cc" "$cc -std=c11" consumer.c "${flags[@]}"
    check "... needs libsingleflight.so.N" links_to "c-$cc" "libsingleflight.so.[0-9]* => $prefix/lib"
done
for cxx in g++ clang++; do
    check "C++ program, $cxx, shared" use "cxx-$cxx" "$cxx -std=c++17" consumer.cpp "${flags[@]}"
done

# ---------------------------------------------------------- each header alone
for cc in gcc clang; do
    check "singleflight.h alone, $cc, C11" \
        $cc -std=c11 $warnings -x c -fsyntax-only "$prefix/include/singleflight.h"
done
for cxx in g++ clang++; do
    for header in singleflight.h singleflight.hpp; do
        echo "#include <$header>" >"$work/alone.cpp"
        check "$header alone, $cxx, C++17" \
            $cxx -std=c++17 $warnings -I"$prefix/include" -fsyntax-only "$work/alone.cpp"
    done
done
check 'make uninstall' quiet_make uninstall PREFIX="$prefix"
check '... leaves nothing' empty "$prefix"

# ----------------------------------------------------------- staged, and static
stage=$work/stage
dirs=(DESTDIR="$stage" PREFIX=/opt/singleflight LIBDIR=/opt/singleflight/lib/multiarch)
export PKG_CONFIG_PATH=$stage/opt/singleflight/lib/multiarch/pkgconfig PKG_CONFIG_SYSROOT_DIR=$stage
check 'make install DESTDIR=... LIBDIR=...' quiet_make install "${dirs[@]}"
check 'no installed text names DESTDIR' bash -c '! grep -rI "$0" "$0"' "$stage"
rm -f "$stage"/opt/singleflight/lib/multiarch/*.so* # leaves the linker the archive
read -ra flags <<<"$(pkg-config --static --cflags --libs singleflight)"
for cc in gcc clang; do
    check "C program, $cc, static" use "static-c-$cc" "$cc -std=c11" consumer.c "${flags[@]}"
done
for cxx in g++ clang++; do
    check "C++ program, $cxx, static" use "static-$cxx" "$cxx -std=c++17" consumer.cpp "${flags[@]}"
done
check 'make uninstall DESTDIR=...' quiet_make uninstall "${dirs[@]}"
check '... leaves nothing' empty "$stage"

finish
