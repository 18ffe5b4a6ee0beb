#!/bin/bash
# Builds the static Windows libraries that hcsd links, from Debian's source packages, and prints the folder that holds them.
#
#   build.sh            build what is missing; the last line on stdout is the folder
#   build.sh --where    print the folder, building nothing
#
# In ${XDG_CACHE_HOME:-~/.cache}/hcsd every library has a folder NAME-KEY of its own, the key being a hash of what goes into it (recipe, flags,
# version, compiler, what it is built against). deps-KEY holds one link for each, under its plain name, and is what our build uses. Folders are
# built elsewhere and renamed when complete, under a lock, so that they are whole or absent.
#
# The sources come through apt with the machine's own mirrors and keys: apt checks the signature of the index and the hashes of the sources.
# Its lists and settings are private copies; those of the machine are only read.
set -euo pipefail
shopt -s inherit_errexit

DEPS_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/hcsd
# One fixed place, whatever the key: ccache then knows what it compiled before.
WORKROOT=$CACHE/work
# Lanes run side by side; each is a list in the order of its own needs.
LANES=("zlib abseil grpc" "zstd libarchive jansson protobuf-c libdeflate cmocka uthash")
JOBS=$(nproc)
CCACHE=$(command -v ccache || true)

declare -A UPSTREAM SOURCE_PACKAGE REVISION_OF KEY
# shellcheck source-path=SCRIPTDIR source=recipe.sh
source "$DEPS_DIR/recipe.sh"

say() { printf 'deps: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

read_versions() {
    local name upstream source revision_of
    while read -r name upstream source revision_of; do
        [[ -z $name || $name == \#* ]] && continue
        UPSTREAM[$name]=$upstream SOURCE_PACKAGE[$name]=$source REVISION_OF[$name]=$revision_of
    done <"$DEPS_DIR/versions.txt"
}

# The key of each library. One dpkg-query and one hash each: a run with nothing to do must cost nothing.
compute_keys() {
    local -A installed=()
    local package version lane name need text compiler=(gcc-mingw-w64-x86-64-posix g++-mingw-w64-x86-64-posix mingw-w64-x86-64-dev binutils-mingw-w64-x86-64)
    # dpkg-query fails for packages that are not there; what is missing is reported below.
    while read -r package version; do
        installed[$package]=$version
    done < <(dpkg-query -W -f '${Package} ${Version}\n' "${compiler[@]}" "${REVISION_OF[@]/#-/dpkg}" 2>/dev/null || true)
    local common toolchain=""
    for package in "${compiler[@]}"; do
        toolchain+="$package ${installed[$package]:-missing}"$'\n'
    done
    [[ $toolchain != *missing* ]] || die "the cross compiler is not installed: run 'make packages'"
    common=$(cat "$DEPS_DIR/recipe.sh" "$DEPS_DIR/toolchain.cmake")
    for lane in "${LANES[@]}"; do
        for name in $lane; do
            # shellcheck source=/dev/null
            source "$DEPS_DIR/recipes/$name.sh"
            text="$common $toolchain $name ${UPSTREAM[$name]} ${installed[${REVISION_OF[$name]}]:-}"$'\n'$(<"$DEPS_DIR/recipes/$name.sh")
            for need in $(recipe_needs); do
                text+=" $need=${KEY[$need]:?$name needs $need, which no earlier step builds}"
            done
            KEY[$name]=$(hash_text "$text")
        done
    done
    text=
    for name in "${!KEY[@]}"; do
        text+="$name ${KEY[$name]}"$'\n'
    done
    ROOT=$CACHE/deps-$(hash_text "$(sort <<<"$text")")
}

hash_text() {
    local hash
    hash=$(sha256sum <<<"$1")
    printf '%s' "${hash:0:16}"
}

dep_dir() { printf '%s/%s-%s' "$CACHE" "$1" "${KEY[$1]}"; }

# The machine's own Debian mirrors, as source entries; nothing else it is configured for. Only Debian's own keys count for them. The release
# itself comes first: where two of its parts offer the same revision apt takes the first, and mirrors of the other parts are less complete.
write_sources_list() {
    local codename uri release component signed_by=/usr/share/keyrings/debian-archive-keyring.gpg
    if [[ -r $signed_by ]]; then signed_by="[signed-by=$signed_by] "; else signed_by=; fi
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    [[ -n $codename ]] || die "/etc/os-release names no Debian release"
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(REPO_URI)|$(RELEASE)|$(COMPONENT)' 'Created-By: Packages' | LC_ALL=C sort -u -t '|' -k 2,2 -k 1,1 |
        while IFS='|' read -r uri release component; do
            case $release in
                "$codename" | "$codename-updates" | "$codename-security" | "$codename/updates") ;;
                *) continue ;;
            esac
            [[ $component == main && $uri != cdrom:* ]] || continue
            printf 'deb-src %s%s %s %s\n' "$signed_by" "$uri" "$release" "$component"
        done >"$1/sources.list"
    [[ -s $1/sources.list ]] || die "apt knows no mirror of Debian $codename (nothing of 'apt-get indextargets' matches)"
}

write_apt_conf() {
    mkdir -p "$1/lists/partial" "$1/cache/archives/partial"
    # Read after the machine's own configuration: proxies and credentials of the machine stay in force, its hooks do not run.
    cat >"$1/apt.conf" <<CONF
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::Etc::SourceList "$1/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$1/lists";
Dir::Cache "$1/cache";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
APT::Get::AllowUnauthenticated "false";
Acquire::Retries "3";
Acquire::IndexTargets::deb-src::Sources::KeepCompressed "true";
CONF
}

# Downloads the sources of the libraries named, each into $WORKROOT/NAME/.
fetch_sources() {
    local apt=$WORKROOT/apt name version requests=()
    mkdir -p "$apt/download"
    write_sources_list "$apt"
    write_apt_conf "$apt"
    apt-get -c "$apt/apt.conf" -q update
    for name in "$@"; do
        if [[ ${SOURCE_PACKAGE[$name]} == - ]]; then continue; fi
        version=$(newest_revision "$apt" "$name")
        [[ -n $version ]] || {
            echo "no Debian revision of ${SOURCE_PACKAGE[$name]} ${UPSTREAM[$name]} is offered; see versions.txt"
            return 1
        }
        printf '%s\n' "$version" >"$WORKROOT/$name.version"
        requests+=("${SOURCE_PACKAGE[$name]}=$version")
    done
    [[ ${#requests[@]} -gt 0 ]] || return 0
    cd "$apt/download"
    apt-get -c "$apt/apt.conf" -q --only-source --download-only source "${requests[@]}"
}

# Debian revisions of the pinned upstream version, newest first; "+dfsg" and the like belong to the revision.
newest_revision() {
    local version upstream best=
    while read -r version; do
        upstream=${version#*:}
        upstream=${upstream%-*}
        upstream=${upstream%%[+.]dfsg*}
        [[ $upstream == "${UPSTREAM[$2]}" ]] || continue
        if [[ -z $best ]] || dpkg --compare-versions "$version" gt "$best"; then best=$version; fi
    done < <(apt-cache -c "$1/apt.conf" showsrc --only-source "${SOURCE_PACKAGE[$2]}" | sed -n 's/^Version: //p')
    printf '%s' "$best"
}

# Runs in a process of its own, with nobody asking about its status on the way: "set -e" then means what it says.
run_recipe() {
    local dsc
    OUT=$WORKROOT/$1.out WORK=$WORKROOT/$1 SRC=$WORKROOT/$1/src
    mkdir -p "$OUT" "$WORK"
    if [[ ${SOURCE_PACKAGE[$1]} != - ]]; then
        dsc=$(find "$WORKROOT/apt/download" -name "${SOURCE_PACKAGE[$1]}_*.dsc" -print -quit)
        dpkg-source --extract "$dsc" "$SRC"
    fi
    # shellcheck source=/dev/null
    source "$DEPS_DIR/recipes/$1.sh"
    recipe_build
}

build_one() {
    local name=$1 log=$CACHE/log/$1.log started=$SECONDS version=""
    if ! "$DEPS_DIR/build.sh" --recipe "$name" >"$log" 2>&1; then
        report_failure "$name" "$log"
        return 1
    fi
    if [[ -e $WORKROOT/$name.version ]]; then version=$(<"$WORKROOT/$name.version"); else version=${UPSTREAM[$name]}; fi
    printf '%s %s\n' "$name" "$version" >"$WORKROOT/$name.out/.version"
    mv -T "$WORKROOT/$name.out" "$(dep_dir "$name")"
    rm -rf "${WORKROOT:?}/$name"
    say "$(printf '%-11s %-22s %4d s' "$name" "$version" $((SECONDS - started)))"
}

report_failure() {
    {
        printf 'deps: %s FAILED; the end of its log:\n' "$1"
        tail -n 40 "$2" | sed 's/^/    /'
        printf 'deps: %s failed, whole log: %s\n' "$1" "$2"
    } >&2
}

build_lane() {
    local name
    for name in "$@"; do
        if [[ ! -d $(dep_dir "$name") ]]; then build_one "$name"; fi
    done
}

# Each lane leads a process group of its own: compilers under it end with it.
stop_lanes() {
    local pid
    for pid in $(jobs -p); do
        kill -- "-$pid" 2>/dev/null || true
    done
}

build_missing() {
    local name lane missing=() started=$SECONDS log=$CACHE/log/fetch.log
    for lane in "${LANES[@]}"; do
        for name in $lane; do
            [[ -d $(dep_dir "$name") ]] || missing+=("$name")
        done
    done
    if [[ ${#missing[@]} -gt 0 ]]; then
        say "building ${missing[*]} into $CACHE (some minutes, once)"
        rm -rf "$WORKROOT"
        mkdir -p "$WORKROOT" "$CACHE/log"
        if ! "$DEPS_DIR/build.sh" --fetch "${missing[@]}" >"$log" 2>&1; then
            report_failure "fetching the sources" "$log"
            return 1
        fi
        say "$(printf '%-34s %4d s' "sources fetched, signatures good" $((SECONDS - started)))"
        set -m
        trap 'stop_lanes; exit 1' INT TERM HUP
        for lane in "${LANES[@]}"; do
            # shellcheck disable=SC2086 # a lane is a list of names
            # They hold the lock too: if this script is killed, nobody else builds beside them.
            build_lane $lane &
        done
        for lane in "${LANES[@]}"; do
            wait -n || {
                stop_lanes
                return 1
            }
        done
        set +m
        rm -rf "$WORKROOT"
        say "all built in $((SECONDS - started)) s"
    fi
    publish
}

publish() {
    local name stage=$ROOT.new
    rm -rf "$stage"
    mkdir -p "$stage"
    for name in "${!KEY[@]}"; do
        ln -s "../$name-${KEY[$name]}" "$stage/$name"
        cat "$(dep_dir "$name")/.version"
    done | sort >"$stage/versions.txt"
    mv -T "$stage" "$ROOT"
}

# All links lead somewhere: a cache that somebody thinned out is completed, not believed.
is_complete() {
    local name
    [[ -d $ROOT ]] || return 1
    for name in "${!KEY[@]}"; do
        [[ -d $ROOT/$name/ ]] || return 1
    done
}

build_under_lock() {
    mkdir -p "$CACHE"
    exec 9>"$CACHE/lock"
    if ! flock -n 9; then
        say "waiting for another build of the dependencies ($CACHE/lock)"
        flock 9
    fi
    if is_complete; then return; fi
    rm -rf "$ROOT"
    build_missing
}

main() {
    read_versions
    compute_keys
    case ${1:-} in
        --where) ;;
        --fetch)
            fetch_sources "${@:2}"
            return
            ;;
        --recipe)
            run_recipe "$2"
            return
            ;;
        *) if ! is_complete; then build_under_lock; fi ;;
    esac
    printf '%s\n' "$ROOT"
}
main "$@"
