#!/bin/bash
# fuzz-run.sh FUZZER WORK-FOLDER CORPUS [libFuzzer option…]: replays the corpus (a folder, or ""), then fuzzes for FUZZ_SECONDS (default 10).
# What is found new stays in WORK-FOLDER/corpus, what crashes in WORK-FOLDER/artifacts.
set -euo pipefail

fuzzer=$1 work=$2 corpus=$3
shift 3
mkdir -p "$work/corpus" "$work/artifacts"
folders=("$work/corpus")
[[ -z $corpus ]] || folders+=("$corpus")

# A corpus is replayed whole, at its files' own lengths, before anything is made up: libFuzzer does that with its start.
exec timeout --kill-after=10 $((${FUZZ_SECONDS:-10} + 120)) \
    "$fuzzer" -max_total_time="${FUZZ_SECONDS:-10}" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity="${FUZZ_VERBOSITY:-0}" \
    -artifact_prefix="$work/artifacts/" "$@" "${folders[@]}"
