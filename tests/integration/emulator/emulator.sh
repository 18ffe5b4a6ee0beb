#!/bin/bash
# The emulator from outside Wine: what only Linux can make (odd names), see (inherited descriptors) and do (kill -9).
set -euo pipefail

WORK=$(mktemp -d "${TMPDIR:-/tmp}/hcsemu-XXXXXX")
RUN=("$HCSD_WINE_RUN" --prefix emulator --timeout 120 --)
LAYERS=$WORK/layers
EMULATOR=$WORK/emulator

fail() {
    printf 'emulator.sh: %s\n' "$*" >&2
    exit 1
}

windows_path() {
    local path=Z:$1
    printf '%s' "${path//\//\\}"
}

drive() {
    local verb=$1 argument arguments=()
    shift
    for argument in "$@"; do
        case $argument in
            /*) arguments+=("$(windows_path "$argument")") ;;
            *) arguments+=("$argument") ;;
        esac
    done
    "${RUN[@]}" "$HCSD_BUILD_DIR/tests/hcsemu-drive.exe" "$(windows_path "$EMULATOR/vmcompute.dll")" "$verb" "${arguments[@]}"
}

books() { "${RUN[@]}" "$EMULATOR/hcsemu.exe" --books; }

finish() {
    "${RUN[@]}" "$EMULATOR/hcsemu.exe" --stop >/dev/null 2>&1 || true
    rm -rf "$WORK"
}
trap finish EXIT

# Waits until a command succeeds.
until_true() {
    local tries
    for tries in {1..300}; do
        if "$@"; then return 0; fi
        sleep 0.1
    done
    fail "after $tries tries: $*"
}

mkdir -p "$EMULATOR" "$LAYERS"
cp "$HCSD_BUILD_DIR/emulator/vmcompute.dll" "$HCSD_BUILD_DIR/emulator/hcsemu.exe" "$EMULATOR"

make_layers() {
    local i
    mkdir -p "$LAYERS/base/Files/some" "$LAYERS/top"
    for i in {1..50}; do echo "base $i" >"$LAYERS/base/Files/some/$i"; done
    cp -a "$LAYERS/base/Files" "$LAYERS/top/"
    for i in {1..40}; do
        mkdir -p "$LAYERS/top/Files/new/$i"
        for name in {1..50}; do echo "file $i $name" >"$LAYERS/top/Files/new/$i/$name"; done
    done
    rm "$LAYERS/top/Files/some/7"
    # Names that no Win32 call under Wine can make, as a transport folder brings them.
    mkdir -p "$LAYERS/top/transport/Files/x. " "$LAYERS/top/transport/Files/back\\slash"
    echo odd >"$LAYERS/top/transport/Files/x. /y\\z"
    echo odd >"$LAYERS/top/transport/Files/x. /$(printf 'bad\xff')"
    ln "$LAYERS/top/transport/Files/x. /y\\z" "$LAYERS/top/transport/Files/linked"
}

test_descriptors() {
    # Ends although the broker, which it started, goes on: nobody else holds the pipe.
    local output
    output=$(timeout 100 "${RUN[@]}" "$HCSD_BUILD_DIR/tests/hcsemu-drive.exe" "$(windows_path "$EMULATOR/vmcompute.dll")" run out 'emu:sleep 3600' 2>&1)
    [[ $output == *0x00000000* ]] || fail "run: found $output"
    [[ $(books) == *'"Id": "out"'* ]] || fail "the container is not in the books"
    drive terminate out >/dev/null
}

test_export() {
    drive activate "$LAYERS/top" >/dev/null
    mkdir "$LAYERS/out"
    drive export "$LAYERS/top" "$LAYERS/out" "$LAYERS/base" >/dev/null || fail "export failed"
    python3 - "$LAYERS/top" "$LAYERS/out" <<'PYTHON'
import os, struct, sys
top, out = (os.fsencode(path) for path in sys.argv[1:3])
def staged(path):
    data = open(path, 'rb').read()
    at, content = 4, b''
    while at < len(data):
        kind, attributes, size, name = struct.unpack_from('<IIQI', data, at)
        at += 20 + name
        if kind == 1:
            content = data[at:at + size]
        at += size
    return content
files = 0
for folder, _, names in os.walk(top + b'/Files/new'):
    for name in names:
        source = os.path.join(folder, name)
        target = out + source[len(top):]
        assert staged(target) == open(source, 'rb').read(), target
        assert abs(os.stat(target).st_mtime_ns - os.stat(source).st_mtime_ns) < 100, target
        files += 1
assert files == 2000, files
tree = lambda root: sorted(os.path.relpath(os.path.join(folder, name), root) for folder, folders, names in os.walk(root) for name in folders + names)
assert set(tree(top + b'/transport/Files')) <= set(tree(out + b'/Files')), tree(out + b'/Files')
assert os.stat(out + b'/Files/linked').st_nlink == 2
assert open(out + b'/tombstones.txt', 'rb').read() == b'\xef\xbb\xbfVersion 1.0\n\\some\\7\n'
assert not os.path.exists(out + b'/Files/some/1')
PYTHON
    drive deactivate "$LAYERS/top" >/dev/null
    drive destroy "$LAYERS/out" >/dev/null || fail "destroy failed"
    [[ ! -e $LAYERS/out ]] || fail "left over: $(find "$LAYERS/out" | head -5)"
}

test_kill() {
    local client
    drive activate "$LAYERS/top" >/dev/null
    mkdir "$LAYERS/out"
    echo '[{"call":"ExportLayer","match":"top","action":"hang","after_ms":1}]' >"$EMULATOR/vmcompute-faults.json"
    drive export "$LAYERS/top" "$LAYERS/out" "$LAYERS/base" >/dev/null 2>&1 &
    client=$!
    until_true test -e "$LAYERS/out/Files"
    kill -9 $(cat "/proc/$client/task/$client/children") || true
    kill -9 "$client" || true
    wait "$client" 2>/dev/null || true
    rm "$EMULATOR/vmcompute-faults.json"
    [[ $(books) == *'"activated": true'* ]] || fail "the broker forgot what was activated"
    drive deactivate "$LAYERS/top" >/dev/null || fail "deactivate failed"
    until_true drive destroy "$LAYERS/out" >/dev/null
    [[ ! -e $LAYERS/out ]] || fail "left over: $(find "$LAYERS/out" | head -5)"
}

make_layers
for name in test_descriptors test_export test_kill; do
    echo "$name"
    $name
done
