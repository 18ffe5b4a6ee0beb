# shellcheck shell=bash
recipe_needs() { :; }
recipe_build() {
    dep_cmake "$SRC/build/cmake" -DZSTD_BUILD_PROGRAMS=OFF -DZSTD_BUILD_SHARED=OFF -DZSTD_BUILD_STATIC=ON -DZSTD_BUILD_TESTS=OFF \
        -DZSTD_LEGACY_SUPPORT=OFF -DZSTD_MULTITHREAD_SUPPORT=ON -DZSTD_BUILD_DICTBUILDER=OFF
    dep_ninja install
}
