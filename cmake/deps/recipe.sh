# shellcheck shell=bash
# What every recipe is built with; sourced by build.sh. Part of every cache key, so nothing belongs here that does not change what is built.
#
# A recipe defines recipe_needs (names of recipes it is built against) and recipe_build, which runs with
#   SRC    the unpacked source        OUT    the folder to install into
#   WORK   a scratch folder           JOBS   how many compilations at once
# and finds what it needs through dep_dir NAME.

HOST=x86_64-w64-mingw32
HOST_CC=$HOST-gcc-posix
HOST_AR=$HOST-ar
HOST_CFLAGS="-O2 -DNDEBUG -w -D_WIN32_WINNT=0x0A00 -ffunction-sections -fdata-sections"

# dep_cmake SOURCE [OPTION…]: configures SOURCE in $WORK/build.
dep_cmake() {
    local source=$1 launcher=()
    shift
    if [[ -n ${CCACHE:-} ]]; then
        launcher=(-DCMAKE_C_COMPILER_LAUNCHER="$CCACHE" -DCMAKE_CXX_COMPILER_LAUNCHER="$CCACHE")
    fi
    cmake -G Ninja -S "$source" -B "$WORK/build" \
        -DCMAKE_TOOLCHAIN_FILE="$DEPS_DIR/toolchain.cmake" -DCMAKE_CROSSCOMPILING_EMULATOR=/bin/false \
        -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE= -DCMAKE_CXX_FLAGS_RELEASE= \
        -DCMAKE_C_FLAGS="$HOST_CFLAGS -ffile-prefix-map=$WORK=/deps ${EXTRA_CFLAGS:-}" \
        -DCMAKE_CXX_FLAGS="$HOST_CFLAGS -ffile-prefix-map=$WORK=/deps ${EXTRA_CFLAGS:-}" \
        -DCMAKE_INSTALL_PREFIX="$OUT" -DCMAKE_INSTALL_LIBDIR=lib -DBUILD_SHARED_LIBS=OFF \
        -DCMAKE_EXPORT_NO_PACKAGE_REGISTRY=ON -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF \
        "${launcher[@]}" "$@"
}

dep_ninja() {
    ninja -C "$WORK/build" -j "$JOBS" "$@"
}

# dep_compile_library LIBRARY INCLUDE-DIR SOURCE…: for libraries of a few files that need no configuration.
dep_compile_library() {
    local library=$1 include=$2 source object objects=()
    shift 2
    mkdir -p "$OUT/lib"
    for source in "$@"; do
        object=$WORK/$(basename "$source").o
        # shellcheck disable=SC2086 # the flags are words
        ${CCACHE:-} $HOST_CC $HOST_CFLAGS -I"$include" -c "$source" -o "$object"
        objects+=("$object")
    done
    $HOST_AR crsD "$OUT/lib/$library" "${objects[@]}"
}
