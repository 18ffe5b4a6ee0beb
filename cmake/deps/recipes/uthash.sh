# shellcheck shell=bash
# Headers only; copied out of Debian's package because a cross-build must not have /usr/include on its path.
recipe_needs() { :; }
recipe_build() {
    install -D -m 644 -t "$OUT/include" /usr/include/uthash.h /usr/include/utlist.h /usr/include/utarray.h
}
