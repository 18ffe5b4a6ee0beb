# shellcheck shell=bash
# The runtime is one file without configuration (configure only finds out the byte order, little-endian being the default).
recipe_needs() { :; }
recipe_build() {
    dep_compile_library libprotobuf-c.a "$SRC" "$SRC/protobuf-c/protobuf-c.c"
    install -D -m 644 -t "$OUT/include/protobuf-c" "$SRC/protobuf-c/protobuf-c.h"
}
