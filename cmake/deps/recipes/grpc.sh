# shellcheck shell=bash
# Only the C core without TLS. c-ares, re2, OpenSSL and protobuf stay out; our endpoint is compiled against the internal headers, which are
# installed into internal/ as they lie in the source tree.
#
# Its C++ files are compiled sixteen at a time (cmake's unity build): each includes the same headers, and most of the time goes there; it takes a
# third of the time. Some files cannot stand together. Should a new revision bring more of these, all is compiled one by one.
recipe_needs() { echo zlib abseil; }
recipe_build() {
    local name folder
    write_unity >"$WORK/unity.cmake"
    configure_grpc -DCMAKE_PROJECT_grpc_INCLUDE="$WORK/unity.cmake"
    if ! dep_ninja grpc_unsecure; then
        echo "unity build failed, file by file:"
        rm -rf "$WORK/build"
        configure_grpc
        dep_ninja grpc_unsecure
    fi
    for name in grpc_unsecure gpr upb address_sorting; do
        install -D -m 644 -t "$OUT/lib" "$WORK/build/lib$name.a"
    done
    mkdir -p "$OUT/include" "$OUT/internal"
    cp -r "$SRC/include/grpc" "$OUT/include/"
    cd "$SRC" || return
    for folder in src/core third_party/upb third_party/xxhash third_party/address_sorting/include; do
        find "$folder" \( -name "*.h" -o -name "*.inc" -o -name "*.hpp" \) -print0 | tar -c --null -T - | tar -x -C "$OUT/internal"
    done
}

# Groups by place in the whole list, so that one file more apart leaves the other groups as they are.
write_unity() {
    cat <<'UNITY'
function(hcsd_unity)
    get_target_property(sources grpc_unsecure SOURCES)
    list(FILTER sources INCLUDE REGEX "\\.cc$")
    set(apart "/(local_transport_security|grpc_alts_credentials_server_options|bin_encoder|weighted_target|message_size_filter)\\.cc$")
    set(count 0)
    foreach(source IN LISTS sources)
        math(EXPR group "${count} / 16")
        math(EXPR count "${count} + 1")
        if(NOT source MATCHES "${apart}")
            set_source_files_properties(${source} PROPERTIES UNITY_GROUP g${group})
        endif()
    endforeach()
    set_target_properties(grpc_unsecure PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
endfunction()
cmake_language(DEFER CALL hcsd_unity)
UNITY
}

# configure_grpc [OPTION…]
configure_grpc() {
    local zlib abseil
    zlib=$(dep_dir zlib)
    abseil=$(dep_dir abseil)
    EXTRA_CFLAGS="-DGRPC_ARES=0 -DSTRSAFE_NO_DEPRECATE" \
        dep_cmake "$SRC" -DgRPC_ABSL_PROVIDER=package -DgRPC_ZLIB_PROVIDER=package -DgRPC_CARES_PROVIDER=none -DgRPC_RE2_PROVIDER=none \
        -DgRPC_SSL_PROVIDER=none -DgRPC_PROTOBUF_PROVIDER=none -DgRPC_BUILD_CODEGEN=OFF -DgRPC_BUILD_TESTS=OFF -DgRPC_INSTALL=OFF \
        -DgRPC_BUILD_CSHARP_EXT=OFF -DgRPC_BACKWARDS_COMPATIBILITY_MODE=OFF -DCMAKE_CXX_STANDARD=17 \
        -Dabsl_DIR="$abseil/lib/cmake/absl" -DCMAKE_FIND_ROOT_PATH_MODE_PACKAGE=BOTH \
        -DZLIB_INCLUDE_DIR="$zlib/include" -DZLIB_LIBRARY="$zlib/lib/libz.a" \
        "$@"
}
