#!/bin/bash
# Runs a Windows program under Wine, in a prefix of this build.
#
#   wine-run.sh [--prefix NAME] [--timeout SECONDS] [--] PROGRAM [ARGUMENT…]
#   wine-run.sh [--prefix NAME] --env        makes the prefix, starts its server, prints shell lines that set WINEPREFIX, WINE, WINESERVER, …
#   wine-run.sh [--prefix NAME] --end        ends everything in the prefix; it stays on disk
#   wine-run.sh [--prefix NAME] --remove     the same, and removes it
#   wine-run.sh --end-all                    ends everything in all prefixes of this build
#
# A prefix is a folder below $HCSD_WINE_DIR (build/wine). The first one is made by Wine (10 s); it is the template that all others are copied
# from, with Wine's own large files as hard links (nothing writes into those; to get files to play with, copy them). The user's folders are real
# folders, not links into the caller's home.
#
# Services outlive the program that started them: the prefix's server is started so that it stays, and ends with --end. What services write to
# stderr goes to NAME.log beside the prefix, with the WINEDEBUG that was set when the prefix's server was started.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
WINE_DIR=${HCSD_WINE_DIR:-$ROOT/build/wine}
# The programs behind Debian's wrappers, which talk about wine32 on stderr.
WINE=/usr/lib/wine/wine64
WINESERVER=/usr/lib/wine/wineserver64
[[ -x $WINE ]] || WINE=$(command -v wine || command -v wine64 || true)
[[ -x $WINESERVER ]] || WINESERVER=$(command -v wineserver || true)

die() {
    printf 'wine-run: %s\n' "$*" >&2
    exit 1
}

set_environment() {
    unset DISPLAY WAYLAND_DISPLAY
    # No Mono, no Gecko, no desktop menus.
    export WINEDLLOVERRIDES="mscoree,mshtml=;winemenubuilder.exe=d"
    export WINEDEBUG=${WINEDEBUG:--all} WINEARCH=win64 WINELOADER=$WINE WINE WINESERVER WINEPREFIX=$WINE_DIR/$1
}

# Runs in a subshell: its environment is the template's.
make_template() (
    local new=$1.new folder log=$WINE_DIR/template.log
    rm -rf "$new"
    mkdir -p "$new/home"
    set_environment "$(basename "$new")"
    export HOME=$new/home WINEDEBUG=-all
    if ! {
        timeout 120 "$WINE" wineboot -i && timeout 30 "$WINE" winecfg -v win10
    } </dev/null >"$log" 2>&1; then
        "$WINESERVER" -k 2>/dev/null || true
        die "Wine could not make a prefix; see $log"
    fi
    # Ends what Wine started and writes the registry out.
    "$WINESERVER" -k 2>/dev/null || true
    "$WINESERVER" -w 2>/dev/null || true
    find "$new/drive_c/users" -type l -print0 | while IFS= read -r -d '' folder; do
        rm "$folder"
        mkdir "$folder"
    done
    rm -rf "${new:?}/home"
    mv -T "$new" "$1"
)

copy_template() {
    local new=$WINE_DIR/$1.new
    rm -rf "$new"
    mkdir -p "$new/drive_c"
    tar -C "$TEMPLATE" -c --exclude=./drive_c/windows --exclude='./drive_c/Program Files' . | tar -x -C "$new"
    cp -al "$TEMPLATE/drive_c/windows" "$TEMPLATE/drive_c/Program Files" "$new/drive_c/"
    # What programs do change in place.
    (cd "$TEMPLATE" && find drive_c -type f \( -name '*.ini' -o -path '*/drivers/etc/*' \) -exec cp -p --parents --remove-destination -t "$new" '{}' +)
    mv -T "$new" "$WINE_DIR/$1"
}

# Makes the prefix when it is not there, starts its server when it does not run, and lets it boot. One at a time: two would boot it twice.
ensure_prefix() {
    local status=0
    mkdir -p "$WINE_DIR"
    exec 9>"$WINE_DIR/lock"
    flock -w 300 9 || die "another run has held $WINE_DIR/lock for five minutes"
    if [[ ! -d $TEMPLATE ]]; then make_template "$TEMPLATE" 9>&-; fi
    if [[ ! -d $WINE_DIR/$1 ]]; then copy_template "$1"; fi
    set_environment "$1"
    # 0: started now; 2: it was there.
    "$WINESERVER" -p </dev/null >/dev/null 2>&1 9>&- || status=$?
    case $status in
        0) timeout 60 "$WINE" cmd.exe /c exit </dev/null >"$WINE_DIR/$1.log" 2>&1 9>&- || die "the prefix $1 does not boot; see $WINE_DIR/$1.log" ;;
        2) ;;
        *) die "wineserver failed ($status) for $WINEPREFIX" ;;
    esac
    exec 9>&-
}

end_prefix() {
    [[ -d $WINE_DIR/$1 ]] || return 0
    set_environment "$1"
    timeout 30 "$WINESERVER" -k >/dev/null 2>&1 || true
}

print_environment() {
    local name
    for name in WINEPREFIX WINE WINESERVER WINELOADER WINEARCH WINEDEBUG WINEDLLOVERRIDES; do
        printf 'export %s=%q\n' "$name" "${!name}"
    done
    echo 'unset DISPLAY WAYLAND_DISPLAY'
}

main() {
    local prefix=default limit=120 action=run status=0 folder errors
    [[ -x $WINE && -x $WINESERVER ]] || die "Wine is not installed: run 'make packages'"
    while [[ $# -gt 0 ]]; do
        case $1 in
            --prefix) prefix=$2 && shift 2 ;;
            --timeout) limit=$2 && shift 2 ;;
            --env | --end | --remove | --end-all) action=${1#--} && shift ;;
            --)
                shift
                break
                ;;
            -*) die "unknown option $1" ;;
            *) break ;;
        esac
    done
    [[ $prefix =~ ^[A-Za-z0-9_-]+$ ]] || die "'$prefix' is no name for a prefix (letters, digits, - and _)"
    # Another version of Wine makes another template.
    TEMPLATE=$("$WINE" --version)
    TEMPLATE=$WINE_DIR/.template-${TEMPLATE//[^A-Za-z0-9._-]/_}

    case $action in
        end) end_prefix "$prefix" ;;
        remove)
            end_prefix "$prefix"
            rm -rf "${WINE_DIR:?}/$prefix"
            ;;
        end-all)
            for folder in "$WINE_DIR"/*/; do
                if [[ -d $folder ]]; then end_prefix "$(basename "$folder")"; fi
            done
            ;;
        env)
            ensure_prefix "$prefix"
            print_environment
            ;;
        run)
            [[ $# -gt 0 ]] || die "no program given"
            ensure_prefix "$prefix"
            # What the program leaves running (the stdio relay, by design) keeps the stderr it began with, and who reads ours to its end
            # would wait for that.
            errors=$(mktemp)
            timeout --kill-after=10 "$limit" "$WINE" "$@" 2>"$errors" || status=$?
            cat "$errors" >&2
            rm -f "$errors"
            exit "$status"
            ;;
    esac
}

main "$@"
