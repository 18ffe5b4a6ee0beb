# shellcheck shell=bash
recipe_needs() { echo zlib zstd; }
recipe_build() {
    local zlib zstd option off=()
    zlib=$(dep_dir zlib)
    zstd=$(dep_dir zstd)
    # ENABLE_LIBGCC stays as it is: OFF is a fatal error.
    for option in MBEDTLS NETTLE OPENSSL LIBB2 LZ4 LZO LZMA BZip2 LIBXML2 EXPAT PCREPOSIX PCRE2POSIX TAR CPIO CAT XATTR ACL ICONV TEST \
        COVERAGE INSTALL WERROR WIN32_XMLLITE; do
        off+=("-DENABLE_$option=OFF")
    done
    dep_cmake "$SRC" "${off[@]}" -DPOSIX_REGEX_LIB=NONE -DENABLE_ZLIB=ON -DENABLE_ZSTD=ON -DENABLE_CNG=ON \
        -DZLIB_INCLUDE_DIR="$zlib/include" -DZLIB_LIBRARY="$zlib/lib/libz.a" \
        -DZSTD_INCLUDE_DIR="$zstd/include" -DZSTD_LIBRARY="$zstd/lib/libzstd.a"
    dep_ninja archive_static
    install -D -m 644 "$WORK/build/libarchive/libarchive_static.a" "$OUT/lib/libarchive.a"
    install -D -m 644 -t "$OUT/include" "$SRC/libarchive/archive.h" "$SRC/libarchive/archive_entry.h"
}
