#!/bin/bash
# make bench: what hcsd costs, as ratios within one run. One line each: name, value, and in brackets what it is and what it should be; lines
# that begin with # are times and sizes of this machine at this moment, which say nothing by themselves.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
python3 "$here/bench.py" "$@"
(($# == 0)) || exit 0
root=$(realpath "$here/../..")
export HCSD_BUILD_DIR=$root/build/windows HCSD_WINE_DIR=$root/build/wine HCSD_WINE_RUN=$root/cmake/wine-run.sh
python3 "$here/../integration/export/bench_export.py"
python3 "$here/bench_freeze.py"
python3 "$here/bench_hostile.py"
