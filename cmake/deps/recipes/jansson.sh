# shellcheck shell=bash
recipe_needs() { :; }
recipe_build() {
    dep_cmake "$SRC" -DJANSSON_BUILD_DOCS=OFF -DJANSSON_WITHOUT_TESTS=ON -DJANSSON_EXAMPLES=OFF
    dep_ninja install
}
