#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A correct program under AddressSanitizer, ThreadSanitizer, helgrind and DRD, with the library, or
# its variant for them, as it is installed: no reports; and with a race of its own: one.  The same with
# the debug variant, and a release too many: one line, linked or preloaded.  Prints TAP;
# a tool that is not there is skipped.  BUILD says where make builds.
. "$(dirname "$0")/tap.sh"

prefix=$work/usr
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
check 'make install-variants' quiet_make install-variants PREFIX="$prefix"

# compile COMPILER FLAGS PACKAGE
compile() {
    # shellcheck disable=SC2046,SC2086
    gcc -O1 -g -fexceptions -c $(pkg-config --cflags $3) -o "$work/helper.o" \
        tests/install/sanitized_helper.c &&
        $1 -O1 -g -fexceptions -pthread $2 -o "$work/program" tests/install/sanitized.c \
            "$work/helper.o" $(pkg-config --cflags --libs $3) -Wl,-rpath,"$prefix/lib"
}

# quiet COMMAND...: ends well and says nothing.
quiet() {
    "$@" >"$work/said" 2>&1
    local rc=$?
    cat "$work/said"
    [ $rc = 0 ] && [ ! -s "$work/said" ]
}

for cc in gcc clang; do
    check "$cc, AddressSanitizer: compiles" compile $cc -fsanitize=address singleflight
    check '... and a panic through other frames is right' quiet "$work/program"
    check "$cc, ThreadSanitizer: compiles" compile $cc -fsanitize=thread singleflight-tsan
    check '... and has no reports' quiet "$work/program"
    check '... a race is compiled' compile $cc '-fsanitize=thread -DRACE' singleflight-tsan
    check '... and is reported' bash -c '! "$0"' "$work/program"
done
supp=$prefix/share/singleflight/valgrind.supp
for tool in helgrind drd; do
    valgrind="valgrind -q --tool=$tool --error-exitcode=9 --suppressions=$supp"
    if ! valgrind --tool=$tool true >/dev/null 2>&1; then
        skip "$tool" 'there is no valgrind here'
        continue
    fi
    check "$tool: compiles" compile gcc '' singleflight-valgrind
    # shellcheck disable=SC2086
    check '... and has no reports' quiet $valgrind "$work/program"
    check '... a race is compiled' compile gcc -DRACE singleflight-valgrind
    # shellcheck disable=SC2016
    check '... and is reported' bash -c '"$@"; [ $? = 9 ]' - $valgrind "$work/program"
done
# one_line COMMAND...: aborts, and says one line.
one_line() {
    local rc=0
    "$@" >"$work/said" 2>&1 || rc=$?
    cat "$work/said"
    [ $rc = 134 ] && [ "$(wc -l <"$work/said")" = 1 ] &&
        grep -q '^singleflight: sflight_result_release(): ' "$work/said"
}
check 'the debug variant: compiles' compile gcc '' singleflight-debug
check '... and a correct program says nothing' quiet "$work/program"
check '... wrong use is compiled' compile gcc -DWRONG singleflight-debug
check '... and tells of itself' one_line "$work/program"
check '... compiled for the library' compile gcc -DWRONG singleflight
check '... it tells with the variant preloaded' \
    one_line env LD_PRELOAD="$prefix/lib/libsingleflight-debug.so" "$work/program"
# shellcheck disable=SC2016
check 'what pkg-config --static says of the variants without an archive is what they need' bash -c \
    'for v; do diff <(pkg-config --static --libs $v) <(pkg-config --libs $v) || exit; done' - \
    singleflight-valgrind singleflight-debug
check 'make uninstall' quiet_make uninstall PREFIX="$prefix"
# shellcheck disable=SC2016
check '... leaves nothing' bash -c '[ -z "$(find "$0" ! -type d)" ]' "$prefix"
check '... nor a folder of its own' test ! -e "$prefix/share/singleflight"

finish
