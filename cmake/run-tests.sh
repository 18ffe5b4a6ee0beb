#!/bin/bash
# run-tests.sh [ctest option…]: the tests of both builds, then one line about them. Exit status 0 only if all passed.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
RESULTS=$ROOT/build/test-results
started=$SECONDS failed=0
mkdir -p "$RESULTS"
rm -f "$RESULTS"/*.xml
trap '"$ROOT/cmake/wine-run.sh" --end-all' EXIT

for preset in native-sanitize windows; do
    ctest --test-dir "$ROOT/build/$preset" --output-junit "$RESULTS/$preset.xml" --no-tests=error --output-on-failure \
        -j "${TEST_JOBS:-2}" "$@" || failed=1
done

# Of the totals that ctest writes at the head of its report: tests, failures, skipped.
sum() {
    { sed -n "0,/$1=\"/s/.*[[:space:]]$1=\"\([0-9]*\)\".*/\1/p" "$RESULTS/windows.xml"
        sed -n "0,/$1=\"/s/.*[[:space:]]$1=\"\([0-9]*\)\".*/\1/p" "$RESULTS/native-sanitize.xml"; } 2>/dev/null |
        awk '{ n += $1 } END { print n + 0 }'
}
printf '\ntests: %d run, %d failed, %d skipped, %d s (reports in build/test-results)\n' \
    "$(sum tests)" "$(sum failures)" "$(sum skipped)" $((SECONDS - started))
exit $failed
