#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Programs and libraries built in unusual ways: link-time optimisation, strict C99, C++ without
# exceptions or RTTI, plugins with hidden visibility.  Prints TAP; what needs a compiler or a library
# that is not there is skipped, and says so.  BUILD says where make builds; needs `make lib`.
. "$(dirname "$0")/tap.sh"

build=$(realpath "${BUILD:-build}")
sources=tests/install

# -------------------------------------------------------- link-time optimisation
only_public() {
    local foreign
    foreign=$(nm -g --defined-only "$1" | awk 'NF == 3 && $3 !~ /^(sflight_|DW\.ref\.|_\.stapsdt\.base$)/ { print $3 }')
    echo "$foreign"
    [ -z "$foreign" ]
}

# lto COMPILER CFLAGS LDFLAGS
lto() {
    local what="$1 $2" out=$work/lto
    rm -rf "$out"
    if ! echo 'int main(void) { return 0; }' | $1 $2 $3 -xc -o "$work/probe" - 2>"$work/log"; then
        skip "$what" "there is no $1, or its linker cannot do this"
        return
    fi
    check "$what: the library" make --no-print-directory -s BUILD="$out" CC="$1" CFLAGS="$2" lib
    check "$what: only sflight_ names leave the archive" only_public "$out/libsingleflight.a"
    # shellcheck disable=SC2086
    check "$what: a program with names of the library's" \
        $1 $2 $3 -Iinclude -o "$work/names" $sources/names.c "$out/libsingleflight.a" -lck -pthread
    check "$what: ... runs" "$work/names"
    check "$what: ... also shared" bash -c \
        "$1 $2 $3 -Iinclude -o $work/names $sources/names.c -L$out -lsingleflight && 
        LD_LIBRARY_PATH=$out $work/names"
}

lto gcc '-O2 -flto' ''
lto gcc '-O1 -g -flto -ffat-lto-objects' ''
lto clang '-O1 -g -flto' '-fuse-ld=lld'
lto clang '-O1 -flto=thin' '-fuse-ld=lld'

# ------------------------------------------------------------------------ wrong use
# ended_twice ARGUMENT...: of make.  Then a program that ends a call twice.
ended_twice() {
    make --no-print-directory -s BUILD="$work/debug" "$@" lib &&
        gcc -Iinclude -o "$work/twice" $sources/twice.c "$work/debug/libsingleflight.a" -lck -pthread &&
        "$work/twice"
}
told() {
    ! ended_twice "$@" && { "$work/twice" || true; } 2>&1 | grep 'sflight_complete'
}
in_the_environment() {
    DEBUG=1 ended_twice
}
check 'make DEBUG=1: a call that is ended twice is told of' told DEBUG=1
check 'DEBUG=1 in the environment: nobody asked for that' in_the_environment

# ----------------------------------------------------------------------- C and C++
warnings='-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wredundant-decls -Werror'
for cc in gcc clang; do
    for std in c99 c11 c17 c2x; do
        # shellcheck disable=SC2086
        check "singleflight.h: $cc -std=$std -pedantic" \
            $cc -std=$std -pedantic $warnings -xc -fsyntax-only include/singleflight.h
    done
done

# refused COMPILER FLAG WHY: run() is one error, which says why.
refused() {
    local said
    said=$($1 -std=c++17 "$2" -Iinclude -xc++ -fsyntax-only - <<<'#include <singleflight.hpp>
void use(singleflight::group &g) { g.run("key", [] { return 1; }); }' 2>&1 | grep 'error:')
    echo "$said"
    [ "$(wc -l <<<"$said")" = 1 ] && grep -q "needs $3" <<<"$said"
}
for cxx in g++ clang++; do
    check "singleflight.hpp, $cxx -fno-exceptions: run() says why not" \
        refused $cxx -fno-exceptions exceptions
    check "singleflight.hpp, $cxx -fno-rtti: run() says why not" refused $cxx -fno-rtti RTTI
    for flag in -fno-exceptions -fno-rtti; do
        for header in singleflight.h singleflight.hpp; do
            check "$header, $cxx $flag" \
                $cxx -std=c++17 $flag -Wall -Wextra -Werror -Iinclude -xc++ -fsyntax-only include/$header
        done
    done
done

# ------------------------------------------------------------------------- plugins
# plugins COMPILER
plugins() {
    if ! $1 -xc++ -o "$work/probe" - <<<'#include <string>
int main() {}' 2>"$work/log"; then
        skip "plugins, $1" 'there is no such compiler, or no such library'
        return
    fi
    local i
    for i in 0 1; do
        check "plugin $i, $1" $1 -std=c++17 -O1 -fPIC -shared -fvisibility=hidden \
            -fvisibility-inlines-hidden -Iinclude -o "$work/plugin$i.so" $sources/plugin.cpp \
            -L"$build" -lsingleflight
    done
    check "their host, $1" $1 -std=c++17 -O1 -Iinclude -o "$work/host" $sources/plugin_host.cpp \
        -L"$build" -Wl,-rpath,"$build" -lsingleflight -ldl -pthread
    check "callers in two plugins, $1: same type, another type, exceptions" \
        "$work/host" "$work/plugin0.so" "$work/plugin1.so"
}
plugins g++
plugins clang++
plugins 'clang++ -stdlib=libc++'

finish
