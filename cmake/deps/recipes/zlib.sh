# shellcheck shell=bash
# Debian's source lacks the win32 resource file that zlib's cmake files want: its configure script it is.
recipe_needs() { :; }
recipe_build() {
    cd "$SRC" || return
    CHOST=$HOST CC="${CCACHE:-} $HOST_CC" CFLAGS="$HOST_CFLAGS" ./configure --static --prefix="$OUT"
    make -j "$JOBS" libz.a
    install -D -m 644 -t "$OUT/lib" libz.a
    install -D -m 644 -t "$OUT/include" zlib.h zconf.h
}
