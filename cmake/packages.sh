#!/bin/bash
# Checks that the packages of packages.txt are installed. Root installs what is missing; others are told the one command.
set -euo pipefail

mapfile -t wanted < <(sed 's/#.*//; s/[[:space:]]//g; /^$/d' "$(dirname "${BASH_SOURCE[0]}")/packages.txt")
installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "${wanted[@]}" 2>/dev/null | sed -n 's/^.i  *//p' || true)
missing=()
for package in "${wanted[@]}"; do
    grep -qxF -- "$package" <<<"$installed" || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

if [[ $EUID -ne 0 ]]; then
    printf 'Debian packages are missing. Install them with\n\n    sudo apt-get install --no-install-recommends %s\n\n' "${missing[*]}" >&2
    exit 1
fi
log=$(mktemp -t hcsd-packages.XXXXXX.log)
printf 'packages: installing %s\n' "${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
started=$SECONDS
# Another apt may be at work: wait for its lock instead of failing.
apt=(apt-get -q -o DPkg::Lock::Timeout=600)
if ! { "${apt[@]}" update && "${apt[@]}" install --yes --no-install-recommends "${missing[@]}"; } </dev/null >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    printf 'packages: apt-get failed; whole log: %s\n' "$log" >&2
    exit 1
fi
rm -f "$log"
printf 'packages: %d installed in %d s\n' "${#missing[@]}" $((SECONDS - started)) >&2
