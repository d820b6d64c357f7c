#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The tracepoints: all of them are noted in the libraries as they are installed, with the arguments
# that the manual says; gdb stops at them; a program may have its own beside the archive's; and
# without them the library is built as well.  Prints TAP.  BUILD says where make builds.
. "$(dirname "$0")/tap.sh"

sources=$PWD/tests/install
prefix=$work/prefix
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
names='claim complete expire forget join park reject takeover wake'

# probes FILE: the names of its notes, each once.
probes() {
    readelf -n "$1" | awk '/Provider: singleflight/ { getline; print $2 }' | sort -u | paste -sd' '
}

has_all() {
    probes "$1"
    [ "$(probes "$1")" = "$names" ]
}

# Each has a call, a key and a length.
three_arguments() {
    readelf -n "$1" | awk '/Provider: singleflight/ { getline; getline; getline; print NF - 1 }' | sort -u
    [ "$(readelf -n "$1" | awk '/Provider: singleflight/ { getline; getline; getline; print NF - 1 }' |
        sort -u)" = 3 ]
}

# stops PROGRAM PROBE: gdb stops there, and finds the key.
stops() {
    DEBUGINFOD_URLS='' timeout 120 gdb -nx -batch -ex 'set breakpoint pending on' -ex 'break main' -ex run \
        -ex "break -probe-stap singleflight:$2" -ex continue \
        -ex 'print ((char *)$_probe_arg1)[0]@((int)$_probe_arg2)' \
        "$1" >"$work/seen" 2>&1
    cat "$work/seen"
    grep -qx '$1 = "the key"' "$work/seen"
}

if ! echo '#include <sys/sdt.h>' | cc -E -xc - >/dev/null 2>&1; then
    skip 'tracepoints' 'there is no <sys/sdt.h>'
    finish
fi
check 'make install' quiet_make install PREFIX="$prefix"
check 'the shared library has all' has_all "$prefix/lib/libsingleflight.so"
check '... with a call, a key and a length' three_arguments "$prefix/lib/libsingleflight.so"
check 'the manual has all' bash -c 'for name in $0; do grep -qx ".It Li $name" src/man/singleflight_tracing.7 ||
    exit; done' "$names"
flags="\$(pkg-config --cflags --libs singleflight)"
check 'a program' bash -c "cc -g -o '$work/shared' '$sources/probed.c' $flags -Wl,-rpath,$prefix/lib"
check '... that has its own, with the archive' bash -c "cc -g -DOWN_PROBE -o '$work/static' \
    '$sources/probed.c' -I'$prefix/include' '$prefix/lib/libsingleflight.a' -lck -pthread"
check '... has all of the archive' has_all "$work/static"
for kind in shared static; do
    check "it runs, $kind" "$work/$kind"
    if ! command -v gdb >/dev/null; then
        skip 'gdb stops' 'there is no gdb'
        continue
    fi
    for probe in claim complete; do
        check "gdb stops at $probe, $kind" stops "$work/$kind" $probe
    done
done
check 'a library without' make --no-print-directory -s BUILD="$work/without" \
    CPPFLAGS=-DSFLIGHT_NO_PROBES lib
check '... has none' test -z "$(probes "$work/without/libsingleflight.so")"
finish
