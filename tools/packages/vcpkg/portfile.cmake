# One make installs both: the triplet's kind of library stays.
set(VCPKG_POLICY_SKIP_LIB_CMAKE_MERGE_CHECK enabled) # the CMake files find all from where make installs them

vcpkg_download_distfile(ARCHIVE
    URLS "@URL@/libsingleflight-${VERSION}.tar.gz"
    FILENAME "libsingleflight-${VERSION}.tar.gz"
    SHA512 @SHA512@
)
vcpkg_extract_source_archive(SOURCE_PATH ARCHIVE "${ARCHIVE}")

vcpkg_cmake_get_vars(cmake_vars_file)
include("${cmake_vars_file}")
find_program(MAKE make REQUIRED)

# make_install CONFIG SUBFOLDER
function(make_install config subfolder)
    set(build "${CURRENT_BUILDTREES_DIR}/${TARGET_TRIPLET}-${config}")
    file(MAKE_DIRECTORY "${build}")
    string(TOUPPER "${config}" CONFIG)
    vcpkg_execute_required_process(
        COMMAND "${MAKE}" -j "${VCPKG_CONCURRENCY}" install "BUILD=${build}"
            "DESTDIR=${CURRENT_PACKAGES_DIR}${subfolder}" PREFIX=
            "CC=${VCPKG_DETECTED_CMAKE_C_COMPILER}"
            "CFLAGS=${VCPKG_COMBINED_C_FLAGS_${CONFIG}}"
            "CPPFLAGS=-I${CURRENT_INSTALLED_DIR}/include"
            "LDFLAGS=-L${CURRENT_INSTALLED_DIR}${subfolder}/lib ${VCPKG_COMBINED_SHARED_LINKER_FLAGS_${CONFIG}}"
        WORKING_DIRECTORY "${SOURCE_PATH}"
        LOGNAME "install-${TARGET_TRIPLET}-${config}"
    )
    if(VCPKG_LIBRARY_LINKAGE STREQUAL "static")
        file(GLOB unwanted "${CURRENT_PACKAGES_DIR}${subfolder}/lib/*.so*")
    else()
        set(unwanted "${CURRENT_PACKAGES_DIR}${subfolder}/lib/libsingleflight.a")
    endif()
    file(REMOVE ${unwanted})
endfunction()

make_install(release "")
if(NOT DEFINED VCPKG_BUILD_TYPE)
    make_install(debug /debug)
    file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/debug/include" "${CURRENT_PACKAGES_DIR}/debug/share")
endif()
vcpkg_fixup_pkgconfig()
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/share/doc" "${CURRENT_PACKAGES_DIR}/share/man")

file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
