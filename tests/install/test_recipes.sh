#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The recipes that build from a release, as far as that goes without their package managers.  Prints TAP.
. "$(dirname "$0")/tap.sh"

version=$(sed -n 's/^#define SFLIGHT_VERSION_[A-Z]* \([0-9]*\)$/\1/p' include/singleflight.h | paste -sd.)
name=libsingleflight-$version
dist=$work/dist
recipes=$dist/recipes
check 'make dist' env URL=https://example.org/here tools/packages/dist "$dist"
check 'nothing in a recipe is left to fill in' bash -c '! grep -rE "@[A-Z0-9]+@" "$0"' "$recipes"
check 'they name version, place and sum' bash -c 'grep -q "pkgver=$1" "$0/alpine/APKBUILD" &&
    grep -q "Version: *$1" "$0/rpm/libsingleflight.spec" && grep -q "\"version\": \"$1\"" "$0/vcpkg/vcpkg.json" &&
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
    export CFLAGS=-O0 # soon done
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
            --define 'debug_package %{nil}' --define 'optflags -O0' "$@" "$recipes/rpm/libsingleflight.spec"
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
        set(VCPKG_COMBINED_C_FLAGS_RELEASE -O0)\nset(VCPKG_COMBINED_C_FLAGS_DEBUG -g)\n")
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
        rm -rf "$work"/vcpkg/{packages,use}
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

# Conan: the recipe, with a stand-in for Conan; its test program, which CMake builds, is used above.
for kind in static shared; do
    rm -rf "$work/conan/package"
    check "Conan's recipe, $kind" env -u MAKEFLAGS -u BUILD python3 -B tests/install/conan_stand_in.py \
        "$recipes/conan/all" "$dist/$name.tar.gz" "$work/conan" $kind
    check '... has what it should' installed "$work/conan/package" include/singleflight.h licenses/LICENSE
    ls "$work/conan/package/lib" >"$work/$kind"
done
check '... each its library' bash -c 'cd "$0" && [ "$(cat static)" = libsingleflight.a ] &&
    grep -x libsingleflight.so shared && ! grep libsingleflight.a shared' "$work"
check "its test's recipe is Python" python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' \
    "$recipes/conan/all/test_package/conanfile.py"

# ----------------------------------------------------------------------------------------- Debian
if command -v dpkg-source >/dev/null; then
    check 'the source package for Debian' \
        env BUILD="$(realpath -m --relative-to=. "$work/deb")" tools/packages/deb source
    check '... has its version' bash -c "grep -qx 'Version: $version-1' '$work'/deb/deb/*.dsc"
else
    skip 'the source package for Debian' 'there is no dpkg-source'
fi

finish
