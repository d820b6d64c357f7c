#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The gdb script, as it is installed: in a program that gdb runs, in a process that it attaches to, and
# in a core dump.  Prints TAP.  BUILD says where make builds; needs gdb with python.
. "$(dirname "$0")/tap.sh"

sources=$PWD/tests/install
prefix=$work/prefix
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
script=$prefix/share/singleflight/gdb.py

# see COMMAND...: what gdb prints, kept in $work/seen.
see() {
    DEBUGINFOD_URLS='' timeout 120 gdb -nx -batch "$@" >"$work/seen" 2>&1
    cat "$work/seen"
}

says() {
    cat "$work/seen"
    grep -qE "^    $1$" "$work/seen"
}

# shows WHERE: what sflight-calls has printed is what tests/install/flights.c has in flight.
shows() {
    local at=', claimed at [0-9]+\.[0-9]+ s of CLOCK_MONOTONIC'
    check "$1: all of them" grep -q '^group 0x[0-9a-f]*: 104 in flight$' "$work/seen"
    check "$1: a group without any" grep -q '^group 0x[0-9a-f]*: 0 in flight$' "$work/seen"
    check "$1: each group once" bash -c '[ "$(grep -c "^group " "$0")" = 3 ]' "$work/seen"
    check "$1: a leader" says "\"led\": led by thread [0-9]+, 2 blocking followers, 0 futures$at"
    check "$1: a started call" says "\"started\": started by thread [0-9]+, 0 blocking followers, 0 futures$at"
    check "$1: a permit" says "\"a\\\\042b\\\\012\": a permit, 0 blocking followers, 0 futures$at"
    check "$1: what is joined in turn" says '"crowded": a permit, 0 blocking followers, 40 futures'
    check "$1: what is forgotten" says "\"forgotten\": a permit, 0 blocking followers, 1 futures$at, forgotten"
    check "$1: in each array" bash -c '[ "$(grep -c "\"key [0-9]*\": a permit" "$0")" = 100 ]' "$work/seen"
}

if ! gdb -nx -batch -ex 'python print("has", "python")' 2>/dev/null | grep -q '^has python$'; then
    skip 'calls in flight in gdb' 'no gdb with python'
    finish
fi
check 'make install' quiet_make install PREFIX="$prefix"
check 'a program' bash -c "cc -g -O1 -D_GNU_SOURCE -o '$work/flights' '$sources/flights.c' \
    \$(pkg-config --cflags --libs singleflight) -Wl,-rpath,$prefix/lib -pthread"

check 'gdb runs it' see -x "$script" -ex 'break all_in_flight' -ex run -ex sflight-calls \
    -ex "generate-core-file $work/core" "$work/flights"
shows 'running'
check 'a core dump' see -x "$script" -ex sflight-calls "$work/flights" "$work/core"
shows 'a core dump'

# As distributions pack it: what several units have is in one that all of them import.
if command -v dwz >/dev/null; then
    check 'dwz' dwz "$(readlink -f "$prefix/lib/libsingleflight.so")"
else
    skip 'dwz' 'there is no dwz'
fi
STAYS=1 "$work/flights" >"$work/out" &
pid=$!
trap 'kill -9 $pid; rm -rf "$work"' EXIT
until grep -q ready "$work/out"; do
    sleep 0.1
done
if see -p "$pid" -x "$script" -ex sflight-calls >/dev/null && ! grep -q 'not permitted' "$work/seen"; then
    shows 'attached'
    check 'the process goes on' kill -0 "$pid"
else
    skip 'attached' 'this system does not let gdb attach'
fi

cc -g -o "$work/other" -xc - <<<'int main(void) { return 0; }'
see -x "$script" -ex 'break main' -ex run -ex sflight-calls "$work/other" >/dev/null || true
check 'a program without the library' grep -q 'libsingleflight is not here' "$work/seen"
check 'make uninstall' quiet_make uninstall PREFIX="$prefix"
check '... takes the script away' test ! -e "$prefix/share/singleflight"
finish
