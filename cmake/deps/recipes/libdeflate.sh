# shellcheck shell=bash
recipe_needs() { :; }
recipe_build() {
    dep_compile_library libdeflate.a "$SRC" "$SRC"/lib/*.c "$SRC"/lib/x86/cpu_features.c
    install -D -m 644 -t "$OUT/include" "$SRC/libdeflate.h"
}
