# shellcheck shell=bash
recipe_needs() { :; }
recipe_build() {
    dep_cmake "$SRC" -DWITH_STATIC_LIB=ON -DUNIT_TESTING=OFF -DWITH_EXAMPLES=OFF -DWITH_CMOCKERY_SUPPORT=OFF -DPICKY_DEVELOPER=OFF
    dep_ninja
    install -D -m 644 "$(find "$WORK/build" -name 'libcmocka*.a' ! -name '*.dll.a' -print -quit)" "$OUT/lib/libcmocka.a"
    install -D -m 644 -t "$OUT/include" "$SRC/include/cmocka.h"
}
