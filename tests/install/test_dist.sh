#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A release: the same bytes each time and from what it unpacks to; its sums and signatures; and the
# recipes that build from it, as far as that goes without their package managers.  Prints TAP.
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

check 'make dist' env URL=https://example.org/here tools/packages/dist "$dist"
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

# --------------------------------------------------------------------------------------- recipes
recipes=$dist/recipes
check 'nothing in a recipe is left to fill in' bash -c '! grep -rE "@[A-Z0-9]+@" "$0"' "$recipes"
check 'they name version, place and sum' bash -c 'grep -q "pkgver=$1" "$0/alpine/APKBUILD" &&
    grep -q "Version: *$1" "$0/rpm/singleflight.spec" && grep -q "\"version\": \"$1\"" "$0/vcpkg/vcpkg.json" &&
    grep -q "\"$1\":" "$0/conan/config.yml" &&
    grep -q "url: \"https://example.org/here/.*$1.tar.gz\"" "$0/conan/all/conandata.yml" &&
    grep -q "sha256: \"$(sha256sum <"$2" | cut -d" " -f1)\"" "$0/conan/all/conandata.yml" &&
    grep -q "$(sha512sum <"$2" | cut -d" " -f1)" "$0/vcpkg/portfile.cmake" "$0/alpine/APKBUILD"' \
    "$recipes" "$version" "$dist/$name.tar.gz"

# installed FOLDER FILE...: a recipe has put the library there.
installed() {
    local file folder=$1
    shift
    for file in "$@"; do
        [ -s "$folder/$file" ] || { echo "$folder/$file"; return 1; }
    done
}

# Alpine: what abuild does with the functions of an APKBUILD.
apkbuild() (
    set -e
    mkdir -p "$work/alpine"
    tar -C "$work/alpine" -xf "$dist/$name.tar.gz"
    pkgdir=$work/alpine/pkg
    # shellcheck disable=SC1091
    . "$recipes/alpine/APKBUILD"
    cd "$work/alpine/$pkgname-$pkgver"
    unset MAKEFLAGS BUILD
    build
    package
)
check 'APKBUILD: build and package' apkbuild
check '... install' installed "$work/alpine/pkg/usr" lib/libsingleflight.so.0 lib/libsingleflight.a \
    lib/cmake/singleflight/singleflight-config.cmake include/singleflight.h share/man/man3/sflight_do.3 \
    lib/libsingleflight-fleet.so.0 include/singleflight_fleet.h
check 'its folder is that of the tarball' bash -c '. "$0"
    [ "$pkgname-$pkgver" = "$1" ] && [ "${source##*/}" = "$1.tar.gz" ]' "$recipes/alpine/APKBUILD" "$name"

# RPM: with Debian's rpmbuild, which knows none of Fedora's packages.
if command -v rpmbuild >/dev/null; then
    rpm_() {
        rpmbuild --nodeps --nocheck --define "_topdir $work/rpm" --define "_sourcedir $dist" \
            --define 'debug_package %{nil}' "$@" "$recipes/rpm/singleflight.spec"
    }
    rpm_has() {
        local list
        list=$(rpm -qlp --nosignature "$work"/rpm/RPMS/*/"$1-$version"-*.rpm)
        echo "$list"
        grep -q "$2" <<<"$list"
    }
    check 'rpmbuild -bs' rpm_ -bs
    check 'rpmbuild -bb' env -u MAKEFLAGS -u BUILD bash -c "$(declare -p work dist recipes)
        $(declare -f rpm_); rpm_ -bb"
    check '... the library' rpm_has libsingleflight 'libsingleflight.so.0$'
    check '... what is compiled with' rpm_has libsingleflight-devel 'cmake/singleflight/singleflight-config.cmake$'
    check '... the archive' rpm_has libsingleflight-static 'libsingleflight.a$'
    check '... the other library' rpm_has libsingleflight-fleet 'libsingleflight-fleet.so.0$'
    check '... its header' rpm_has libsingleflight-fleet-devel 'singleflight_fleet.h$'
else
    skip 'rpmbuild' 'there is no rpmbuild'
fi

# vcpkg: the port, with stand-ins for the functions of vcpkg that it calls.
if command -v cmake >/dev/null; then
    cat >"$work/vcpkg.cmake" <<'END'
function(vcpkg_download_distfile variable)
    cmake_parse_arguments(arg "" "FILENAME;SHA512" "URLS" ${ARGN})
    file(SHA512 "${DIST}/${arg_FILENAME}" sum)
    if(NOT sum STREQUAL arg_SHA512 OR NOT arg_URLS MATCHES "^https://example.org/here/")
        message(FATAL_ERROR "${arg_URLS}: ${sum}")
    endif()
    set(${variable} "${DIST}/${arg_FILENAME}" PARENT_SCOPE)
endfunction()
function(vcpkg_extract_source_archive variable)
    cmake_parse_arguments(arg "" "ARCHIVE" "" ${ARGN})
    file(ARCHIVE_EXTRACT INPUT "${arg_ARCHIVE}" DESTINATION "${CURRENT_BUILDTREES_DIR}/src")
    file(GLOB folder "${CURRENT_BUILDTREES_DIR}/src/*")
    set(${variable} "${folder}" PARENT_SCOPE)
endfunction()
function(vcpkg_cmake_get_vars variable)
    file(WRITE "${CURRENT_BUILDTREES_DIR}/vars.cmake" "set(VCPKG_DETECTED_CMAKE_C_COMPILER gcc)
        set(VCPKG_COMBINED_C_FLAGS_RELEASE -O2)\nset(VCPKG_COMBINED_C_FLAGS_DEBUG -g)\n")
    set(${variable} "${CURRENT_BUILDTREES_DIR}/vars.cmake" PARENT_SCOPE)
endfunction()
function(vcpkg_execute_required_process)
    cmake_parse_arguments(arg "" "WORKING_DIRECTORY;LOGNAME" "COMMAND" ${ARGN})
    execute_process(COMMAND ${arg_COMMAND} WORKING_DIRECTORY "${arg_WORKING_DIRECTORY}" RESULT_VARIABLE result)
    if(result)
        message(FATAL_ERROR "${arg_LOGNAME}: ${result}")
    endif()
endfunction()
function(vcpkg_fixup_pkgconfig)
endfunction()
function(vcpkg_install_copyright)
    cmake_parse_arguments(arg "" "" "FILE_LIST" ${ARGN})
    file(INSTALL ${arg_FILE_LIST} DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}" RENAME copyright)
endfunction()
include("${PORTFILE}")
END
    # port LINKAGE
    port() {
        rm -rf "$work/vcpkg"
        env -u MAKEFLAGS -u BUILD cmake -DDIST="$dist" -DPORTFILE="$recipes/vcpkg/portfile.cmake" \
            -DPORT=singleflight -DVERSION="$version" -DTARGET_TRIPLET=x64-linux -DVCPKG_LIBRARY_LINKAGE="$1" \
            -DVCPKG_CONCURRENCY=2 -DCURRENT_BUILDTREES_DIR="$work/vcpkg/trees" \
            -DCURRENT_PACKAGES_DIR="$work/vcpkg/packages" \
            -DCURRENT_INSTALLED_DIR="$work/vcpkg/installed" -DVCPKG_BUILD_TYPE=release -P "$work/vcpkg.cmake"
    }
    used() {
        env -u MAKEFLAGS cmake -S "$recipes/conan/all/test_package" -B "$work/vcpkg/use" \
            -DCMAKE_PREFIX_PATH="$work/vcpkg/packages" &&
            env -u MAKEFLAGS cmake --build "$work/vcpkg/use" && "$work/vcpkg/use/test_package" | grep ": 42$"
    }
    suffix_static=a suffix_dynamic=so
    for linkage in static dynamic; do
        suffix=suffix_$linkage
        check "vcpkg's port, $linkage" port $linkage
        check '... has what it should' installed "$work/vcpkg/packages" include/singleflight.h \
            share/singleflight/usage share/singleflight/copyright lib/libsingleflight.${!suffix}
        check "... is used by a program, that of Conan's recipe" used
    done
else
    skip "vcpkg's port" 'there is no cmake'
fi
check 'vcpkg.json is JSON' python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$recipes/vcpkg/vcpkg.json"

# Conan: what it is made of is Python and YAML; its test program is used above.
check "Conan's recipe is Python" python3 -c 'import ast, sys
for path in sys.argv[1:]: ast.parse(open(path).read(), path)' "$recipes"/conan/all/{,test_package/}conanfile.py

# ----------------------------------------------------------------------------------------- Debian
if command -v dpkg-source >/dev/null; then
    check 'the source package for Debian' \
        env BUILD="$(realpath -m --relative-to=. "$work/deb")" tools/packages/deb source
    check '... has its version' bash -c "grep -qx 'Version: $version-1' '$work'/deb/deb/*.dsc"
else
    skip 'the source package for Debian' 'there is no dpkg-source'
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
