#!/usr/bin/env python3
"""Checks a layer archive entry by entry against what it was made from. Shares no code with the exporter.

    check_tar.py --transport DIR TAR                 DIR: a copy of the folder in transport format
    check_tar.py --layer DIR --parent DIR... TAR     DIR: layer folders with their merged Files, parents nearest first

TAR may be plain, gzip or zstd. Compared are order, paths, types, sizes, contents, times to the last digit, MSWINDOWS.* and
LIBARCHIVE.creationtime records, link targets, alternate streams and whiteouts; and that there is nothing else. With --layer the
expected entries are the difference of the trees: changed is type, size, time or attributes; missing is a whiteout, topmost only.
Folders are read from the Unix side of a Wine prefix: attributes are what Wine makes of mode and user.DOSATTRIB, creation time is
the time of last writing.

Exit status 0 and a last line with the counts, or 1 with a line for each difference.
"""
import argparse
import base64
import gzip
import hashlib
import os
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile

SIDECAR = b".$wcidirs$"
READONLY, DIRECTORY, ARCHIVE = 1, 0x10, 0x20
MAX_SHOWN = 50


class Expected:
    """What one tar entry is to be. A None is not compared."""

    def __init__(self, path, kind, **fields):
        self.path, self.kind = path, kind
        self.size, self.content, self.mtime, self.created = 0, None, None, None
        self.attributes, self.security, self.link, self.mount, self.xattrs = None, None, "", False, {}
        self.bare = False  # no Windows records at all
        self.__dict__.update(fields)


def ticks_text(nanoseconds):
    """Seconds as PAX writes them, from a time cut to FILETIME's 100 ns."""
    ticks = nanoseconds // 100
    sign = "-" if ticks < 0 else ""
    whole, part = divmod(abs(ticks), 10**7)
    return sign + str(whole) + (f".{part:07}".rstrip("0") if part else "")


def digest(data):
    return hashlib.sha256(data).hexdigest()


def shown_name(raw):
    """A Unix name as Wine lists it."""
    return raw.decode("utf-8", "replace")


def order(name):
    return name.encode("utf-8", "surrogatepass")


# ---- backup streams, decoded on their own ----

class Streams:
    def __init__(self, raw, path):
        self.security, self.eas, self.reparse = None, None, None
        self.data, self.has_data, self.alternates = b"", False, []
        at, current, parts = 0, None, None
        while at < len(raw):
            kind, attributes, size, name_size = struct.unpack_from("<IIQI", raw, at)
            at += 20
            name = raw[at:at + name_size].decode("utf-16-le", "surrogatepass")
            at += name_size
            body = raw[at:at + size]
            if len(body) != size:
                raise ValueError(f"{path}: stream {kind} is cut off")
            at += size
            if kind == 9:
                offset = struct.unpack_from("<Q", body)[0]
                current[:] = current.ljust(offset, b"\0")
                current += body[8:]
                continue
            if kind == 1:
                self.has_data, current = True, bytearray(body)
                self.data = current
            elif kind == 2:
                self.eas = body
            elif kind == 3:
                self.security = body
            elif kind == 4:
                current = bytearray(body)
                self.alternates.append((name.removesuffix(":$DATA"), current))
            elif kind == 8:
                self.reparse = body


def decode_reparse(body):
    """-> (target, is a mount point), or None for other tags."""
    tag = struct.unpack_from("<I", body)[0]
    if tag not in (0xA0000003, 0xA000000C):
        return None
    names = 16 if tag == 0xA0000003 else 20
    sub_at, sub_size, print_at, print_size = struct.unpack_from("<HHHH", body, 8)
    if print_size:
        target = body[names + print_at:names + print_at + print_size].decode("utf-16-le")
    else:
        target = body[names + sub_at:names + sub_at + sub_size].decode("utf-16-le").removeprefix("\\??\\")
    return target, tag == 0xA0000003


def decode_eas(body):
    found = {}
    while body:
        following, _, name_size, value_size = struct.unpack_from("<IBBH", body)
        name = body[8:8 + name_size].decode("utf-8", "surrogateescape")  # as tarfile reads keys
        if "=" not in name:
            found["MSWINDOWS.xattr." + name] = base64.b64encode(body[9 + name_size:9 + name_size + value_size]).decode()
        if not following:
            break
        body = body[following:]
    return found


def staged_entries(path, folder, prefix_and_stream, time):
    """The tar entries of one staged file or folder."""
    attributes = struct.unpack_from("<I", prefix_and_stream)[0]
    streams = Streams(prefix_and_stream[4:], path)
    link = decode_reparse(streams.reparse) if streams.reparse else None
    data = b"" if folder or link else bytes(streams.data)
    yield Expected(path, "2" if link else "5" if folder else "0", size=len(data), content=digest(data), mtime=time, created=time,
                   attributes=attributes, security=streams.security, link=link[0] if link else "",
                   mount=bool(link and link[1]), xattrs=decode_eas(streams.eas) if streams.eas else {})
    for name, data in streams.alternates:
        yield Expected(path + name, "0", size=len(data), content=digest(bytes(data)), mtime=time, bare=True)


# ---- a folder in transport format ----

class Transport:
    def __init__(self, root):
        self.root = os.fsencode(root)
        self.tombstones = {}
        self.links = {}
        self.delta = os.stat(os.path.join(self.root, b"Hives/System_Delta")).st_mtime_ns

    def read_tombstones(self):
        with open(os.path.join(self.root, b"tombstones.txt"), "rb") as file:
            lines = file.read().split(b"\n")
        if lines[0].rstrip(b"\r") != b"\xef\xbb\xbfVersion 1.0":
            raise ValueError("tombstones.txt: first line")
        for line in lines[1:]:
            line = line.rstrip(b"\r")
            if line:
                path = "Files/" + line[1:].decode("utf-8").replace("\\", "/")
                self.tombstones.setdefault(path.rpartition("/")[0], set()).add(path)

    def entries(self):
        self.read_tombstones()
        top = os.open(self.root, os.O_RDONLY)
        files, rest = [], []
        try:
            for entry in self.walk(top, "", False):
                (files if entry.path == "Files" or entry.path.startswith("Files/") else rest).append(entry)
        finally:
            os.close(top)
        orphans = sorted((path for paths in self.tombstones.values() for path in paths
                          if not path.lower().startswith("files/$recycle.bin/")), key=order)
        before = [entry for entry in rest if order(entry.path) < b"Files"]
        return before + files + [whiteout(path) for path in orphans] + [entry for entry in rest if entry not in before]

    def read(self, folder, name):
        handle = os.open(name, os.O_RDONLY, dir_fd=folder)
        with os.fdopen(handle, "rb") as file:
            return file.read(), os.fstat(file.fileno())

    def walk(self, folder, at, staged):
        names = os.listdir(os.dup(folder))
        names = sorted((os.fsencode(name) for name in names), key=lambda raw: order(shown_name(raw)))
        for raw in names:
            name = shown_name(raw)
            path = f"{at}/{name}" if at else name
            info = os.stat(raw, dir_fd=folder, follow_symlinks=False)
            is_folder = stat.S_ISDIR(info.st_mode)
            if path == "tombstones.txt" or (not is_folder and raw.endswith(SIDECAR)):
                continue
            if is_folder and path.lower() == "files/$recycle.bin":
                continue
            time = ticks_text(info.st_mtime_ns)
            if staged:
                content, side = self.read(folder, raw + SIDECAR if is_folder else raw)
                time = ticks_text(side.st_mtime_ns)
            if not is_folder and info.st_nlink > 1:
                if info.st_ino in self.links:
                    attributes = struct.unpack_from("<I", content)[0] if staged else ARCHIVE
                    yield Expected(path, "1", mtime=time, created=time, attributes=attributes, link=self.links[info.st_ino])
                    continue
                self.links[info.st_ino] = path
            if staged:
                yield from staged_entries(path, is_folder, content, time)
            elif is_folder:
                if path in ("Files", "Hives"):
                    time = ticks_text(self.delta)
                yield Expected(path, "5", mtime=time, created=time, attributes=DIRECTORY)
            else:
                content, _ = self.read(folder, raw)
                yield Expected(path, "0", size=len(content), content=digest(content), mtime=time, created=time,
                               attributes=wine_attributes(info, name, None))
            if is_folder:
                for gone in sorted(self.tombstones.pop(path, ()), key=order):
                    yield whiteout(gone)
                below = os.open(raw, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                try:
                    yield from self.walk(below, path, staged or path == "Files")
                finally:
                    os.close(below)


def whiteout(path):
    folder, _, name = path.rpartition("/")
    return Expected(f"{folder}/.wh.{name}", "0", mtime="0", bare=True, content=digest(b""))


# ---- the difference of two trees ----

def wine_attributes(info, name, path):
    attributes = DIRECTORY if stat.S_ISDIR(info.st_mode) else ARCHIVE
    if not info.st_mode & 0o222 and not stat.S_ISDIR(info.st_mode):
        attributes |= READONLY
    try:
        stored = os.getxattr(path, "user.DOSATTRIB") if path else b""
        attributes |= int(stored.rstrip(b"\0"), 16) & 6 if stored[:2] == b"0x" else 0
    except (OSError, ValueError):
        pass
    return attributes


class Tree:
    """One layer's Files; a name maps to (stat, attributes, path)."""

    def __init__(self, path):
        self.path = path

    def list(self):
        found = {}
        if self.path is None or not os.path.isdir(self.path):
            return found
        for raw in os.listdir(os.fsencode(self.path)):
            whole = os.path.join(os.fsencode(self.path), raw)
            if raw.endswith(SIDECAR) and not os.path.isdir(whole):
                continue
            info = os.stat(whole)
            found[shown_name(raw)] = (info, wine_attributes(info, shown_name(raw), whole), whole)
        return found


class Difference:
    def __init__(self, layer, parents):
        self.layer, self.parents = layer, parents
        self.links = {}

    def entries(self):
        files = os.path.join(self.layer, "Files")
        hive = os.path.join(self.layer, "Hives", "System_Delta")
        self.delta = ticks_text(os.stat(hive if os.path.exists(hive) else files).st_mtime_ns)
        top = Expected("Files", "5", mtime=self.delta, created=self.delta, attributes=DIRECTORY)
        below, gone = self.walk(files, [os.path.join(parent, "Files") for parent in self.parents], "Files")
        hives = Expected("Hives", "5", mtime=self.delta, created=self.delta, attributes=DIRECTORY)
        return [top] + [whiteout(path) for path in gone] + below + [hives] + list(self.plain("Hives")) + list(self.plain("UtilityVM"))

    def plain(self, name):
        """Hives and UtilityVM, copied as they are. A System_Delta that the layer lacks is made with it."""
        path = os.path.join(self.layer, name)
        found = Tree(path).list()
        if name == "Hives" and "System_Delta" not in found:
            found["System_Delta"] = None
        elif name == "UtilityVM" and os.path.isdir(path):
            raise ValueError("a layer with a UtilityVM is not compared here: use --transport")
        for entry in sorted(found, key=order):
            if found[entry] is None:
                yield Expected(f"{name}/{entry}", "0", size=None, mtime=self.delta, created=self.delta, attributes=ARCHIVE)
                continue
            info, attributes, whole = found[entry]
            with open(whole, "rb") as file:
                content = file.read()
            time = ticks_text(info.st_mtime_ns)
            yield Expected(f"{name}/{entry}", "0", size=len(content), content=digest(content), mtime=time, created=time,
                           attributes=attributes)

    def walk(self, layer, parents, at):
        """-> (entries below this folder, whiteouts of this folder)"""
        own = Tree(layer).list()
        theirs = [Tree(parent).list() for parent in parents]
        entries = []
        for name in sorted(own, key=order):
            info, attributes, whole = own[name]
            path = f"{at}/{name}"
            is_folder = stat.S_ISDIR(info.st_mode)
            nearest = next((tree[name] for tree in theirs if name in tree), None)
            changed = (nearest is None or attributes != nearest[1] or info.st_mtime_ns // 100 != nearest[0].st_mtime_ns // 100 or
                       (not is_folder and info.st_size != nearest[0].st_size))
            time = ticks_text(info.st_mtime_ns)
            if not is_folder:
                if changed:
                    entries.append(self.file(path, info, attributes, whole, time))
                continue
            below_parents = []
            for parent, tree in zip(parents, theirs):
                if name in tree:
                    if not stat.S_ISDIR(tree[name][0].st_mode):
                        below_parents.append(None)
                        below_parents += [None] * (len(parents) - len(below_parents))
                        break
                    below_parents.append(os.path.join(os.fsencode(parent), os.path.basename(tree[name][2])))
                else:
                    below_parents.append(None)
            below, gone = self.walk(whole, below_parents, path)
            if changed or below or gone:
                entries.append(Expected(path, "5", mtime=time, created=time, attributes=attributes, security=b"any"))
                entries += [whiteout(one) for one in gone] + below
        names = {name for tree in theirs for name in tree} - set(own)
        return entries, sorted((f"{at}/{name}" for name in names), key=order)

    def file(self, path, info, attributes, whole, time):
        if info.st_nlink > 1 and info.st_ino in self.links:
            return Expected(path, "1", mtime=time, created=time, attributes=attributes, link=self.links[info.st_ino])
        self.links[info.st_ino] = path
        with open(whole, "rb") as file:
            content = file.read()
        return Expected(path, "0", size=len(content), content=digest(content), mtime=time, created=time, attributes=attributes,
                        security=b"any")


# ---- the archive ----

def open_tar(path):
    with open(path, "rb") as file:
        magic = file.read(4)
    if magic[:2] == b"\x1f\x8b":
        plain = tempfile.TemporaryFile()
        with gzip.open(path) as file:
            while chunk := file.read(1 << 20):
                plain.write(chunk)
        plain.seek(0)
        return plain
    if magic == b"\x28\xb5\x2f\xfd":
        plain = tempfile.TemporaryFile()
        subprocess.run(["zstd", "-dcq", path], stdout=plain, check=True)
        plain.seek(0)
        return plain
    return open(path, "rb")


def tar_entries(path):
    last = 0
    with open_tar(path) as plain, tarfile.open(fileobj=plain, mode="r:", errors="surrogateescape") as tar:
        for member in tar:
            pax = dict(member.pax_headers)
            content = None
            if member.type == b"0":
                hasher = hashlib.sha256()
                with tar.extractfile(member) as file:
                    while chunk := file.read(1 << 20):
                        hasher.update(chunk)
                content = hasher.hexdigest()
            yield member, pax, content
            last = member.offset_data + (member.size + 511) // 512 * 512
        plain.seek(last)
        if plain.read() != bytes(1024):
            raise ValueError("the archive does not end in two zero blocks")


def is_security(raw):
    """A self-relative security descriptor with an owner and a group."""
    if len(raw) < 20:
        return False
    revision, _, control, owner, group, _, _ = struct.unpack_from("<BBHIIII", raw)
    return revision == 1 and control & 0x8000 and 20 <= owner < len(raw) and 20 <= group < len(raw)


def tar_name(member, pax):
    """The name as text; WTF-8 for lone surrogates when the records say the charset is binary."""
    name = member.name
    if pax.get("hdrcharset") == "BINARY":
        name = name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogatepass")
    return name


def compare(expected, member, pax, content):
    """-> the differences of one entry, as text"""
    def differ(what, wanted, found):
        if wanted != found:
            yield f"{what}: expected {wanted!r}, found {found!r}"

    yield from differ("type", expected.kind, member.type.decode())
    if expected.size is not None:
        yield from differ("size", expected.size, member.size)
    if expected.content is not None and expected.kind == "0":
        yield from differ("content", expected.content, content)
    yield from differ("mtime", expected.mtime, pax.get("mtime", str(int(member.mtime))))
    yield from differ("link", expected.link, member.linkname)
    yield from differ("access and change time", (None, None), (pax.get("atime"), pax.get("ctime")))
    wanted = dict(expected.xattrs)
    if not expected.bare:
        wanted["MSWINDOWS.fileattr"] = str(expected.attributes)
        wanted["LIBARCHIVE.creationtime"] = expected.created
        if expected.mount:
            wanted["MSWINDOWS.mountpoint"] = "1"
    found = {key: value for key, value in pax.items() if "." in key}
    raw = found.pop("MSWINDOWS.rawsd", None)
    if expected.security == b"any":
        if raw is None or not is_security(base64.b64decode(raw, validate=True)):
            yield f"MSWINDOWS.rawsd: no security descriptor: {raw!r}"
    else:
        yield from differ("MSWINDOWS.rawsd", expected.security, None if raw is None else base64.b64decode(raw, validate=True))
    yield from differ("records", wanted, found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transport")
    parser.add_argument("--layer")
    parser.add_argument("--parent", action="append", default=[])
    parser.add_argument("tar")
    options = parser.parse_args()
    if bool(options.transport) == bool(options.layer):
        parser.error("one of --transport and --layer")
    made = Transport(options.transport) if options.transport else Difference(options.layer, options.parent)
    expected = list(made.entries())
    found = [(tar_name(member, pax), member, pax, content) for member, pax, content in tar_entries(options.tar)]

    problems = []
    wanted_paths, found_paths = [entry.path for entry in expected], [name for name, *_ in found]
    if wanted_paths != found_paths:
        missing, extra = set(wanted_paths) - set(found_paths), set(found_paths) - set(wanted_paths)
        problems += [f"{path}: missing" for path in sorted(missing, key=order)]
        problems += [f"{path}: not expected" for path in sorted(extra, key=order)]
        if not missing and not extra:
            at = next((i for i, pair in enumerate(zip(wanted_paths, found_paths)) if pair[0] != pair[1]), len(wanted_paths))
            problems.append(f"order or count: entry {at} is {found_paths[at:at + 1]}, expected {wanted_paths[at:at + 1]}")
    by_path = {}
    for name, *rest in found:
        by_path.setdefault(name, []).append(rest)
    for entry in expected:
        rows = by_path.get(entry.path)
        if not rows:
            continue
        # Two entries may have one name (Unix names that Wine lists alike): any of them may be meant.
        results = [(list(compare(entry, *row)), row) for row in rows]
        best, row = min(results, key=lambda result: len(result[0]))
        problems += [f"{entry.path}: {text}" for text in best]
        rows.remove(row)

    for text in problems[:MAX_SHOWN]:
        print(text.encode("utf-8", "backslashreplace").decode())
    if problems:
        print(f"{len(problems)} differences")
        return 1
    kinds = {"0": "files", "1": "hard links", "2": "links", "5": "folders"}
    counts = {}
    for entry in expected:
        kind = "whiteouts" if entry.path.rpartition("/")[2].startswith(".wh.") else kinds[entry.kind]
        counts[kind] = counts.get(kind, 0) + 1
    print(f"{len(expected)} entries equal: " + ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
