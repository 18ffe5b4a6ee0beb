# The libraries we link, as dep::NAME, the same names in both builds. Windows: built by cmake/deps/build.sh, static. Native: Debian's own.
#
#   dep::grpc           C core, through its public C headers (Windows only; empty in the native build)
#   dep::grpc_internal  the same plus gRPC's C++ internals and abseil, with the definitions gRPC itself was compiled with
#   dep::protobuf_c  dep::archive  dep::jansson  dep::zlib  dep::zstd  dep::deflate  dep::uthash  dep::cmocka

set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
    "${CMAKE_SOURCE_DIR}/cmake/deps/versions.txt" "${CMAKE_SOURCE_DIR}/cmake/deps/recipe.sh")

# dep_library(NAME library-file [INCLUDE dir…] [DEFINE …] [LINK …])
function(dep_library name file)
    cmake_parse_arguments(arg "" "" "INCLUDE;DEFINE;LINK" ${ARGN})
    if(NOT EXISTS "${file}")
        message(FATAL_ERROR "dep::${name}: ${file} is missing")
    endif()
    add_library(dep::${name} STATIC IMPORTED GLOBAL)
    set_target_properties(dep::${name} PROPERTIES
        IMPORTED_LOCATION "${file}"
        INTERFACE_INCLUDE_DIRECTORIES "${arg_INCLUDE}"
        INTERFACE_COMPILE_DEFINITIONS "${arg_DEFINE}"
        INTERFACE_LINK_LIBRARIES "${arg_LINK}")
endfunction()

function(dep_interface name)
    add_library(dep::${name} INTERFACE IMPORTED GLOBAL)
    set_property(TARGET dep::${name} PROPERTY INTERFACE_LINK_LIBRARIES ${ARGN})
endfunction()

if(WIN32)
    execute_process(
        COMMAND "${CMAKE_SOURCE_DIR}/cmake/deps/build.sh"
        OUTPUT_VARIABLE root OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE result)
    if(NOT result EQUAL 0)
        message(FATAL_ERROR "building the dependencies failed; the reason is above")
    endif()
    # The Makefile compares this with what build.sh says now, and configures again when they differ.
    set(HCSD_DEPS_DIR "${root}" CACHE PATH "the dependencies built by cmake/deps/build.sh" FORCE)

    # By the folders' own names: a change to one library then recompiles what uses that one.
    foreach(library zlib zstd libdeflate jansson protobuf-c cmocka libarchive uthash grpc abseil)
        file(REAL_PATH "${root}/${library}" ${library})
    endforeach()

    dep_library(zlib "${zlib}/lib/libz.a" INCLUDE "${zlib}/include")
    dep_library(zstd "${zstd}/lib/libzstd.a" INCLUDE "${zstd}/include")
    dep_library(deflate "${libdeflate}/lib/libdeflate.a" INCLUDE "${libdeflate}/include")
    dep_library(jansson "${jansson}/lib/libjansson.a" INCLUDE "${jansson}/include")
    dep_library(protobuf_c "${protobuf-c}/lib/libprotobuf-c.a" INCLUDE "${protobuf-c}/include")
    dep_library(cmocka "${cmocka}/lib/libcmocka.a" INCLUDE "${cmocka}/include")
    dep_library(archive "${libarchive}/lib/libarchive.a" INCLUDE "${libarchive}/include"
        DEFINE LIBARCHIVE_STATIC LINK dep::zlib dep::zstd bcrypt)
    dep_interface(uthash)
    target_include_directories(dep::uthash INTERFACE "${uthash}/include")

    # gRPC's and abseil's archives refer to one another in circles.
    file(GLOB abseil_libraries "${abseil}/lib/libabsl_*.a")
    dep_library(grpc "${grpc}/lib/libgrpc_unsecure.a" INCLUDE "${grpc}/include"
        LINK -Wl,--start-group "${grpc}/lib/libgrpc_unsecure.a" "${grpc}/lib/libgpr.a" "${grpc}/lib/libaddress_sorting.a" "${grpc}/lib/libupb.a"
            ${abseil_libraries} -Wl,--end-group dep::zlib ws2_32 crypt32 dbghelp bcrypt iphlpapi advapi32)
    set_property(TARGET dep::grpc PROPERTY IMPORTED_LINK_INTERFACE_LANGUAGES CXX)

    # Structs of gRPC's internals depend on these definitions: a mismatch compiles, links and corrupts memory.
    dep_interface(grpc_internal dep::grpc)
    target_compile_definitions(dep::grpc_internal INTERFACE NDEBUG GRPC_ARES=0)
    target_compile_features(dep::grpc_internal INTERFACE cxx_std_17)
    target_include_directories(dep::grpc_internal INTERFACE
        "${grpc}/internal" "${grpc}/internal/src/core/ext/upb-generated" "${grpc}/internal/src/core/ext/upbdefs-generated"
        "${grpc}/internal/third_party/upb" "${grpc}/internal/third_party/xxhash" "${abseil}/include")
else()
    # dep_native(NAME library…): from the system; headers are in the compiler's own path.
    function(dep_native name)
        foreach(library IN LISTS ARGN)
            find_library(path_${library} ${library} NO_CACHE)
            if(NOT path_${library})
                message(FATAL_ERROR "lib${library} is missing: run 'make packages'")
            endif()
        endforeach()
        dep_interface(${name} ${ARGN})
    endfunction()
    dep_native(zlib z)
    dep_native(zstd zstd)
    dep_native(deflate deflate)
    dep_native(jansson jansson)
    dep_native(protobuf_c protobuf-c)
    dep_native(cmocka cmocka)
    dep_native(archive archive)
    dep_interface(uthash)
    dep_interface(grpc)
    dep_interface(grpc_internal)
endif()
