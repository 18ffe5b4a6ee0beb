# shellcheck shell=bash
# Only the C core without TLS. c-ares, re2, OpenSSL and protobuf stay out; our endpoint is compiled against the internal headers, which are
# installed into internal/ as they lie in the source tree.
recipe_needs() { echo zlib abseil; }
recipe_build() {
    local zlib abseil name folder
    zlib=$(dep_dir zlib)
    abseil=$(dep_dir abseil)
    EXTRA_CFLAGS="-DGRPC_ARES=0 -DSTRSAFE_NO_DEPRECATE" \
        dep_cmake "$SRC" -DgRPC_ABSL_PROVIDER=package -DgRPC_ZLIB_PROVIDER=package -DgRPC_CARES_PROVIDER=none -DgRPC_RE2_PROVIDER=none \
        -DgRPC_SSL_PROVIDER=none -DgRPC_PROTOBUF_PROVIDER=none -DgRPC_BUILD_CODEGEN=OFF -DgRPC_BUILD_TESTS=OFF -DgRPC_INSTALL=OFF \
        -DgRPC_BUILD_CSHARP_EXT=OFF -DgRPC_BACKWARDS_COMPATIBILITY_MODE=OFF -DCMAKE_CXX_STANDARD=17 \
        -Dabsl_DIR="$abseil/lib/cmake/absl" -DCMAKE_FIND_ROOT_PATH_MODE_PACKAGE=BOTH \
        -DZLIB_INCLUDE_DIR="$zlib/include" -DZLIB_LIBRARY="$zlib/lib/libz.a"
    dep_ninja grpc_unsecure
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
