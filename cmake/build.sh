#!/bin/bash
# build.sh PRESET [TARGET…]: configures build/PRESET when that is needed, and builds it (default: all). One at a time for each preset: two runs in one folder would
# write the same files.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=$1
shift
mkdir -p build
exec 8>"build/.$preset.lock"
if ! flock -n 8; then
    printf 'build: waiting for another build of %s\n' "$preset" >&2
    flock 8
fi

# The dependencies are other ones when a version, a recipe or the compiler changed; ninja sees no such thing.
is_configured() {
    [[ -e build/$preset/build.ninja ]] || return 1
    [[ $preset != windows ]] || grep -qsxF "HCSD_DEPS_DIR:PATH=$1" "build/$preset/CMakeCache.txt"
}

deps=
if [[ $preset == windows ]]; then deps=$(cmake/deps/build.sh 8>&-); fi
if ! is_configured "$deps"; then
    cmake --preset "$preset" --log-level=WARNING >/dev/null
fi
exec cmake --build --preset "$preset" --target "${@:-all}" -- --quiet
