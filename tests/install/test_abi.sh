#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Structs that have grown, under one soname: makes a library and a header where each struct that may
# grow has more members at its end, and runs programs both ways, older with the newer library and
# newer with the older one.  Prints TAP.  BUILD says where make builds; needs `make lib`.
. "$(dirname "$0")/tap.sh"

cc=${CC:-cc}
build=$(realpath "${BUILD:-build}")
grown=$work/grown

# The project, with structs that have grown.
mkdir "$grown"
cp -r include src tools Makefile "$grown"
header=$grown/include/singleflight.h
for struct in options stats info result; do
    perl -0pi -e "s{(struct sflight_$struct \\{.*?)(\n\} sflight_$struct;)}{\$1\n    uint64_t grown[3];\$2}s" \
        "$header"
done
check 'four structs have grown' test "$(grep -c 'uint64_t grown\[3\]' "$header")" = 4
check 'a library with structs that have grown' \
    make --no-print-directory -s -C "$grown" BUILD="$work/build" CC="$cc" lib
so=libsingleflight.so.$(sed -n 's/^#define SFLIGHT_VERSION_MAJOR //p' include/singleflight.h)
check '... has the same soname' test -e "$work/build/$so"

check 'make abi-check permits that' \
    make --no-print-directory -s -C "$grown" BUILD="$work/build" CC="$cc" abi-check
perl -0pe "s{(<class-decl name='sflight_result'.*?)layout-offset-in-bits='128'}{\$1layout-offset-in-bits='192'}s" \
    tools/abi/0.1.0.abi >"$work/moved.abi"
perl -pe "s/'sflight_forget'/'sflight_forgot'/" tools/abi/0.1.0.abi >"$work/gone.abi"
for dump in moved gone; do
    check "... and finds what has $dump" bash -c \
        '! BUILD="$0" ABI_DUMP="$1" tools/abi/abi check && grep -q "may not work" <<<"$(
            BUILD="$0" ABI_DUMP="$1" tools/abi/abi check 2>&1)"' "$build" "$work/$dump.abi"
done

# run TEST HEADER LIBRARY FLAGS: one of the API tests, compiled with a header, run with a library.
run() {
    # shellcheck disable=SC2086
    $cc -O1 -std=gnu11 -D_GNU_SOURCE -pthread -I"$2" ${4:-} -o "$work/$1" "tests/api/$1.c" \
        -L"$3" -Wl,-rpath,"$3" -lsingleflight -lcmocka &&
        timeout -s KILL 600 "$work/$1"
}

for test in test_sizes test_do test_values test_many test_queue test_future; do
    check "an older program, the newer library: $test" \
        run $test include "$work/build" -DSFLIGHT_NEWER_LIBRARY
    check "a newer program, the older library: $test" \
        run $test "$grown/include" "$build" -DSFLIGHT_OLDER_LIBRARY
done
check 'both newer: test_sizes' run test_sizes "$grown/include" "$work/build" -DSFLIGHT_NEWER_LIBRARY
for test in test_sizes test_do test_queue; do
    cc=clang check "a newer program by clang, the older library: $test" \
        run $test "$grown/include" "$build" -DSFLIGHT_OLDER_LIBRARY
done

finish
