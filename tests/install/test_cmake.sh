#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# find_package(singleflight), as a stranger's project asks for it: shared, static, moved elsewhere, in
# Debian's folders, of several versions.  Prints TAP.  BUILD says where make builds; needs `make lib`.
. "$(dirname "$0")/tap.sh"

if ! command -v cmake >/dev/null; then
    skip 'find_package(singleflight)' 'there is no cmake'
    finish
fi
sources=$PWD/tests/install/cmake
version=$(sed -n 's/^#define SFLIGHT_VERSION_[A-Z]* \([0-9]*\)$/\1/p' include/singleflight.h | paste -sd.)

# configure PREFIX ASK: the consumers' project, that wants the library below PREFIX and asks for it so.
configure() {
    env -u MAKEFLAGS cmake -S "$sources" -B "$work/consumer" -U singleflight_DIR -DCMAKE_PREFIX_PATH="$1" -DASK="$2"
}
build() {
    configure "$1" "${2:-}" && env -u MAKEFLAGS cmake --build "$work/consumer"
}
# says PROGRAM: its version.
says() {
    [ "$("$work/consumer/$1")" = "$version" ]
}
needs() {
    readelf -dW "$work/consumer/$1" | grep 'NEEDED.*\[libsingleflight\.so\.[0-9]*\]'
}
needs_none() {
    ! needs "$1"
}
# refused ASK WHY
refused() {
    local said
    said=$(configure "$prefix" "$1" 2>&1) && return 1
    echo "$said"
    tr -s '[:space:]' ' ' <<<"$said" | grep -qF -- "$2"
}

prefix=$work/prefix
check 'make install' quiet_make install PREFIX="$prefix"
check 'a project is built' build "$prefix"
for language in c cxx; do
    check "$language, shared: runs" says $language-singleflight
    check '... needs libsingleflight.so.N' needs $language-singleflight
    check "$language, static: runs" says $language-static
    check '... needs none' needs_none $language-static
done
check 'a plugin with the archive inside stays' bash -c "readelf -dW '$work/consumer/libplugin.so' | grep NODELETE"

check "asked for $version" configure "$prefix" "$version EXACT"
check 'asked for an older one of the soname' configure "$prefix" "${version%%.*}.1"
check 'asked for a newer one' refused "${version%.*}.99" "version: $version"
check 'asked for another soname' refused "$((${version%%.*} + 1)).0" "version: $version"
check 'asked for a component that there is not' refused 'COMPONENTS nothing' 'singleflight::nothing is not installed'
check '... which is optional' configure "$prefix" 'OPTIONAL_COMPONENTS nothing'
check 'asked for the archive as a component' configure "$prefix" 'COMPONENTS static'

mv "$prefix" "$work/moved"
prefix=$work/moved
check 'moved elsewhere' build "$prefix"
check '... runs' says c-singleflight
rm "$prefix"/lib/*.so*
check 'without a shared library' build "$prefix"
check '... the archive is taken' says c-singleflight
rm "$prefix"/lib/*.a
check 'without any library' refused '' 'there is no libsingleflight in'

multiarch=$(gcc -print-multiarch)
if [ -n "$multiarch" ]; then
    prefix=$work/usr
    check 'in folders as Debian has them' quiet_make install PREFIX="$prefix" LIBDIR="$prefix/lib/$multiarch"
    # Debian's /lib is a link to /usr/lib: whoever comes by that finds the same.
    ln -s usr/lib "$work/lib"
    check '... found' build "$work"
    check '... runs' says c-singleflight
    check 'no CMake file names the place' bash -c '! grep -r "$0" "$0"/lib/*/cmake' "$work"
fi
finish
