# shellcheck shell=bash
recipe_needs() { :; }
recipe_build() {
    dep_cmake "$SRC" -DABSL_PROPAGATE_CXX_STD=ON -DBUILD_TESTING=OFF -DABSL_BUILD_TESTING=OFF -DABSL_ENABLE_INSTALL=ON \
        -DCMAKE_CXX_STANDARD=17 -DCMAKE_CXX_STANDARD_REQUIRED=ON
    dep_ninja install
}
