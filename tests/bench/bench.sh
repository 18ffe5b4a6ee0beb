#!/bin/bash
# make bench: what hcsd costs, as ratios within one run. One line each: name, value, and in brackets what it is and what it should be; lines
# that begin with # are times and sizes of this machine at this moment, which say nothing by themselves.
set -euo pipefail
exec python3 "$(dirname "${BASH_SOURCE[0]}")/bench.py" "$@"
