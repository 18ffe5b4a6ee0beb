#!/usr/bin/env python3
"""Makes folders in transport format, one for each item of the export engine's contract, for the exporter and its checker.

    make_corpus.py FOLDER [--only NAME] [--small-files N --small-folders N] [--large N --large-mib N]

Deterministic: equal arguments give equal bytes and times (but for ids of files). Every case is FOLDER/NAME, with
FOLDER/NAME.expect.json where the checker cannot derive what is to come out (deviations, failure). Runs on the Unix side, so
that names can be made which no Win32 call makes.
"""
import argparse
import hashlib
import json
import os
import random
import struct

DATA, EA, SECURITY, ALTERNATE, LINK, PROPERTY, OBJECT_ID, REPARSE, SPARSE_BLOCK = range(1, 10)
SPARSE = 8  # stream attribute
ATTR_READONLY, ATTR_HIDDEN, ATTR_SYSTEM, ATTR_DIRECTORY, ATTR_ARCHIVE = 1, 2, 4, 0x10, 0x20
ATTR_SPARSE, ATTR_REPARSE = 0x200, 0x400
BASE_TIME = 1_600_000_000 * 10**9


def stream(kind, data=b"", name="", attributes=0, size=None):
    raw = name.encode("utf-16-le", "surrogatepass")
    return struct.pack("<IIQI", kind, attributes, len(data) if size is None else size, len(raw)) + raw + data


def block(offset, data=b""):
    return stream(SPARSE_BLOCK, struct.pack("<Q", offset) + data)


def security(tag="D"):
    """A self-relative descriptor with owner and group SYSTEM and an empty-looking body that differs by tag."""
    sid = bytes.fromhex("010100000000000512000000")
    body = hashlib.sha256(tag.encode()).digest()[:8]
    return struct.pack("<BBHIIII", 1, 0, 0x8000, 20, 20 + len(sid), 0, 0) + sid + sid + body


def reparse_names(tag, substitute, shown, flags):
    sub = substitute.encode("utf-16-le")
    prt = shown.encode("utf-16-le")
    names = sub + b"\0\0" + prt + b"\0\0"
    head = struct.pack("<HHHH", 0, len(sub), len(sub) + 2, len(prt))
    if flags is not None:
        head += struct.pack("<I", flags)
    return struct.pack("<IHH", tag, len(head) + len(names), 0) + head + names


def symlink(target, relative=False, shown=None):
    substitute = target if relative else "\\??\\" + target
    return reparse_names(0xA000000C, substitute, target if shown is None else shown, 1 if relative else 0)


def mount_point(target):
    return reparse_names(0xA0000003, "\\??\\" + target, target, None)


def eas(*pairs):
    out = b""
    for index, (name, value) in enumerate(pairs):
        raw = name if isinstance(name, bytes) else name.encode()
        row = struct.pack("<BBH", 0, len(raw), len(value)) + raw + b"\0" + value
        size = 4 + len(row)
        padded = (size + 3) // 4 * 4
        last = index == len(pairs) - 1
        out += struct.pack("<I", 0 if last else padded) + row + (b"" if last else b"\0" * (padded - size))
    return out


class Layer:
    """A folder in transport format. Paths are relative to Files, with slashes, text or bytes."""

    def __init__(self, root, tombstones=()):
        self.root = os.fsencode(root)
        self.times = []
        self.count = 0
        os.makedirs(os.path.join(self.root, b"Files"))
        os.makedirs(os.path.join(self.root, b"Hives"))
        for hive in ("DefaultUser_Delta", "Sam_Delta", "Security_Delta", "Software_Delta", "System_Delta"):
            self.plain("Hives/" + hive, hive.encode() * 3)
        lines = [b"\xef\xbb\xbfVersion 1.0"] + [line if isinstance(line, bytes) else line.encode() for line in tombstones]
        self.write(b"tombstones.txt", b"".join(line + b"\r\n" for line in lines))

    def write(self, path, data):
        whole = os.path.join(self.root, path)
        with open(whole, "wb") as file:
            file.write(data)
        self.count += 1
        # Sub-second times that a FILETIME can hold, a different one for each file.
        self.times.append((whole, BASE_TIME + self.count * 1_234_567_800))
        return whole

    def plain(self, path, data):
        return self.write(os.fsencode(path), data)

    def file(self, path, streams=b"", attributes=ATTR_ARCHIVE, data=None):
        if data is not None:
            streams = stream(SECURITY, security()) + (stream(DATA, data) if data else b"") + streams
        return self.write(b"Files/" + os.fsencode(path), struct.pack("<I", attributes) + streams)

    def folder(self, path, streams=None, attributes=ATTR_DIRECTORY):
        raw = b"Files/" + os.fsencode(path)
        os.makedirs(os.path.join(self.root, raw))
        if streams is None:
            streams = stream(SECURITY, security("folder"))
        self.write(raw + b".$wcidirs$", struct.pack("<I", attributes) + streams)

    def link(self, old, new):
        os.link(os.path.join(self.root, b"Files/" + os.fsencode(old)), os.path.join(self.root, b"Files/" + os.fsencode(new)))

    def finish(self, expect=None):
        for path, time in self.times:
            if os.path.lexists(path):
                os.utime(path, ns=(time, time))
        for at, folders, _ in os.walk(self.root, topdown=False):
            os.utime(at, ns=(BASE_TIME, BASE_TIME))
        if expect is not None:
            with open(self.root + b".expect.json", "w") as file:
                json.dump(expect, file, indent=1)


def payload(size, seed):
    return random.Random(seed).randbytes(size)


CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


@case
def plain(root):
    """Files of all sizes around the block and buffer sizes, order of names, attributes."""
    layer = Layer(root)
    for name in ("Windows", "Windows/System32", "Users", "empty folder", "a", "a/b"):
        layer.folder(name)
    for size in (0, 1, 511, 512, 513, 4096, 65536, 131039, 131040, 131072, 131073, 262144, 1_000_003):
        layer.file(f"Windows/size {size:07}", data=payload(size, size))
    # Depth first and by bytes: "a", its entries, "a b", "a-", "a.txt", "aa", "É", U+FFFD, then what needs four bytes.
    for name in ("a.txt", "a b", "a-", "aa", "B", "\u00c9t\u00e9", "\ufffd", "\U0001f600", "z", "x" * 120, "\u4e2d" * 60):
        layer.file(name, data=name.encode())
    layer.folder("deep " + "d" * 90)
    layer.file("deep " + "d" * 90 + "/" + "f" * 90, data=b"long path")
    layer.file("hidden", attributes=ATTR_HIDDEN | ATTR_SYSTEM | ATTR_READONLY, data=b"hidden")
    layer.file("no security", stream(DATA, b"x"))
    layer.file("metadata behind", stream(DATA, b"y") + stream(SECURITY, security("late")) + stream(EA, eas(("LATE", b"1"))))
    layer.finish({"deviations": []})


@case
def metadata(root):
    layer = Layer(root)
    layer.file("eas", stream(SECURITY, security()) + stream(EA, eas(("$KERNEL.PURGE.A", b"\0\1\2"), ("USER.B", b""))) +
               stream(DATA, b"data"))
    layer.folder("folder with eas", stream(SECURITY, security("f")) + stream(EA, eas(("X", b"y"))))
    layer.file("many eas", stream(EA, eas(*[(f"N{i:03}", bytes([i]) * i) for i in range(200)])) + stream(DATA, b"data"))
    layer.file("equals", stream(EA, eas(("A=B", b"v"), ("C", b"w"))) + stream(DATA, b"e"))
    layer.file("oem eas", stream(EA, eas((b"CAF\xc9", b"v"), ("D", b"w"))) + stream(DATA, b"o"))
    layer.file("object id", stream(DATA, b"o") + stream(OBJECT_ID, bytes(64)))
    layer.file("linked stream", stream(DATA, b"o") + stream(LINK, bytes(10)))
    layer.finish({"deviations": ["attribute_left_out:Files/equals", "stream_left_out:Files/object id"]})


@case
def links(root):
    layer = Layer(root)
    layer.folder("d")
    layer.folder("junction", stream(SECURITY, security()) + stream(REPARSE, mount_point("C:\\Users\\Public")),
                 ATTR_DIRECTORY | ATTR_REPARSE)
    layer.folder("folder link", stream(REPARSE, symlink("C:\\Windows")), ATTR_DIRECTORY | ATTR_REPARSE)
    layer.file("file link", stream(SECURITY, security()) + stream(REPARSE, symlink("..\\x\\\u00fc", True)),
               ATTR_ARCHIVE | ATTR_REPARSE)
    layer.file("no print name", stream(REPARSE, symlink("C:\\only substitute", False, "")), ATTR_REPARSE)
    layer.file("long link", stream(REPARSE, symlink("C:\\" + "l" * 150)), ATTR_REPARSE)
    layer.file("unknown tag", stream(REPARSE, struct.pack("<IHH", 0x8000001B, 4, 0) + b"abcd") + stream(DATA, b"u"),
               ATTR_ARCHIVE | ATTR_REPARSE)
    layer.file("d/first", data=payload(3000, "first"))
    layer.link("d/first", "a second name")
    layer.link("d/first", "d/third")
    layer.file("zz1", data=payload(200_000, "big"))
    layer.link("zz1", "zz2")
    layer.finish({"deviations": ["unknown_reparse:Files/unknown tag"]})


@case
def streams(root):
    layer = Layer(root)
    layer.file("zone", stream(DATA, b"main") + stream(ALTERNATE, b"[ZoneTransfer]", ":Zone.Identifier:$DATA"))
    layer.file("before data", stream(ALTERNATE, b"first", ":a:$DATA") + stream(DATA, b"main"))
    layer.file("only streams", stream(ALTERNATE, b"", ":empty:$DATA") + stream(ALTERNATE, payload(5000, 1), ":big:$DATA"))
    layer.folder("folder", stream(SECURITY, security()) + stream(ALTERNATE, b"on a folder", ":f:$DATA"))
    layer.file("large stream", stream(DATA, payload(300_000, 2)) + stream(ALTERNATE, payload(400_000, 3), ":l:$DATA") +
               stream(ALTERNATE, b"t", ":t:$DATA"))
    layer.finish({"deviations": []})


@case
def sparse(root):
    """The four shapes of BackupRead, and alternate streams in them."""
    layer = Layer(root)
    attributes = ATTR_ARCHIVE | ATTR_SPARSE
    layer.file("1 nothing", stream(SECURITY, security()), attributes)
    layer.file("2 empty", stream(DATA, b"", attributes=SPARSE), attributes)
    layer.file("3 all hole", stream(DATA, b"", attributes=SPARSE) + block(1_000_000), attributes)
    layer.file("4 full", stream(DATA, payload(70_000, 4), attributes=SPARSE), attributes)
    layer.file("5 blocks", stream(DATA, b"", attributes=SPARSE) + block(0, payload(100, 5)) + block(65536, payload(65536, 6)) +
               block(500_001, b"odd") + block(600_000), attributes)
    layer.file("6 end hole", stream(DATA, b"", attributes=SPARSE) + block(131072, b"x") + block(131073), attributes)
    layer.file("7 large", stream(DATA, b"", attributes=SPARSE) +
               b"".join(block(i * 200_000, payload(100_000, i)) for i in range(5)) + block(1_100_000), attributes)
    layer.file("8 alternate", stream(DATA, b"m") + stream(ALTERNATE, b"", ":s:$DATA", SPARSE) + block(4096, b"in stream") +
               block(10_000) + stream(ALTERNATE, b"after", ":t:$DATA"), attributes)
    layer.file("9 both", stream(DATA, b"", attributes=SPARSE) + block(10, b"q") + block(20) +
               stream(ALTERNATE, b"", ":s:$DATA", SPARSE) + block(30), attributes)
    layer.finish({"deviations": []})


@case
def whiteouts(root):
    layer = Layer(root, ["\\gone", "\\Windows\\b gone", "\\Windows\\a gone", "\\absent\\x", "\\absent\\deeper\\y",
                         "\\Windows\\\u00fcml", "", "\\$Recycle.Bin\\S-1-5\\x", "\\" + "w" * 120])
    layer.folder("Windows")
    layer.file("Windows/stays", data=b"s")
    layer.folder("absenx")
    layer.finish({"deviations": ["orphan_tombstone:Files/absent/deeper/y", "orphan_tombstone:Files/absent/x",
                                 "recycle_bin:Files/$Recycle.Bin/S-1-5/x"]})


@case
def recycle(root):
    layer = Layer(root)
    layer.folder("$RECYCLE.BIN")
    layer.folder("$RECYCLE.BIN/S-1-5-18")
    layer.file("$RECYCLE.BIN/S-1-5-18/junk", data=b"junk")
    layer.folder("keep")
    layer.folder("keep/$Recycle.Bin")
    layer.file("keep/$Recycle.Bin/kept", data=b"kept")
    layer.file("stray.$wcidirs$", data=b"stray")
    layer.finish({"deviations": ["orphan_sidecar:Files/stray.$wcidirs$", "recycle_bin:Files/$RECYCLE.BIN"]})


@case
def utility_vm(root):
    layer = Layer(root)
    base = layer.root.decode()
    os.makedirs(base + "/UtilityVM/Files/EFI/Microsoft/Boot")
    layer.plain("UtilityVM/Files/EFI/Microsoft/Boot/BCD", payload(9000, 7))
    layer.plain("UtilityVM/Files/EFI/Microsoft/Boot/BCD.LOG", b"")
    layer.plain("bcd.bak", b"bak")
    layer.file("x", data=b"x")
    layer.finish({"deviations": []})


@case
def hostile(root):
    """Names that Wine lists and cannot open by name, deep and long paths. Sizes stay small."""
    layer = Layer(root)
    for name in (b"back\\slash", b"trailing dot.", b"trailing space ", b"bad \xff\xfe utf-8", b"bad \xff\xfd utf-8", b"CON",
                 b"aux.txt", b"question?", b"star*", b"pipe|", b"quote\"", b"tab\t", b"new\nline", b"colon:name"):
        layer.file(name, data=b"content of " + name)
    layer.folder(b"folder.")
    layer.file(b"folder./inside ", data=b"i")
    layer.file("read only", attributes=ATTR_READONLY, data=b"r")
    os.chmod(os.path.join(layer.root, b"Files/read only"), 0o444)
    # Within what a path can name on the Unix side: Wine's server deletes by path, and beyond 4096 bytes nothing goes.
    layer.folder("deep")
    here = os.open(os.path.join(layer.root, b"Files/deep"), os.O_RDONLY)
    for level in range(250):
        name = f"level {level:03}"
        os.mkdir(name, dir_fd=here)
        side = os.open(name + ".$wcidirs$", os.O_CREAT | os.O_WRONLY, dir_fd=here)
        os.write(side, struct.pack("<I", ATTR_DIRECTORY) + stream(SECURITY, security("deep")))
        os.close(side)
        os.utime(name + ".$wcidirs$", ns=(BASE_TIME, BASE_TIME), dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    side = os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(side, struct.pack("<I", ATTR_ARCHIVE) + stream(DATA, b"reached"))
    os.close(side)
    os.utime("bottom", ns=(BASE_TIME, BASE_TIME), dir_fd=here)
    os.close(here)
    for path, time in layer.times:
        os.utime(path, ns=(time, time))


@case
def surrogates(root):
    """Names that surrogates.c shows with lone surrogates: U+E080 stands for U+DC80."""
    layer = Layer(root)
    layer.folder("folder \ue001")
    layer.folder("plain")
    layer.file("folder \ue001/inside", data=b"inside")
    for name in ("lone \ue080", "\ue0ff", "plain/two \ue010\ue011", "plain/\U0001f600 and \ue012"):
        layer.file(name, data=name.encode())
    layer.file("streams \ue020", stream(DATA, b"d") + stream(ALTERNATE, b"a", ":lone \udc21:$DATA"))
    layer.link("lone \ue080", "plain/linked \ue030")
    layer.finish()


@case
def long(root):
    """Deeper than a Unix path can say: 40 folders of 120 characters. Reached by opens relative to the parent only."""
    layer = Layer(root)
    here = os.open(os.path.join(layer.root, b"Files"), os.O_RDONLY)
    for level in range(40):
        name = f"{level:03} " + "l" * 116
        os.mkdir(name, dir_fd=here)
        side = os.open(name + ".$wcidirs$", os.O_CREAT | os.O_WRONLY, dir_fd=here)
        os.write(side, struct.pack("<I", ATTR_DIRECTORY) + stream(SECURITY, security("long")))
        os.close(side)
        os.utime(name + ".$wcidirs$", ns=(BASE_TIME, BASE_TIME), dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    side = os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(side, struct.pack("<I", ATTR_ARCHIVE) + stream(DATA, b"reached"))
    os.close(side)
    os.utime("bottom", ns=(BASE_TIME, BASE_TIME), dir_fd=here)
    os.close(here)
    for path, time in layer.times:
        os.utime(path, ns=(time, time))


def broken(name, make, expect):
    def build(root):
        layer = Layer(root)
        make(layer)
        layer.finish({"fails": "DATA_LOSS", "object": expect})
    CASES["broken_" + name] = build


broken("container_tag", lambda l: l.file("wci", stream(REPARSE, struct.pack("<IHH", 0x90001018, 4, 0) + b"abcd")), "Files/wci")
broken("no_sidecar", lambda l: os.mkdir(os.path.join(l.root, b"Files/bare")), "Files/bare")
broken("short_file", lambda l: l.write(b"Files/short", b"abc"), "Files/short")
broken("cut_stream", lambda l: l.file("cut", stream(DATA, b"abc", size=100)), "Files/cut")
broken("no_end_mark", lambda l: l.file("open", stream(DATA, b"", attributes=SPARSE) + block(5, b"x")), "Files/open")
broken("unknown_id", lambda l: l.file("id", stream(77, b"x")), "Files/id")
broken("no_tombstones", lambda l: os.unlink(os.path.join(l.root, b"tombstones.txt")), "tombstones.txt")
broken("no_delta", lambda l: os.unlink(os.path.join(l.root, b"Hives/System_Delta")), "Hives/System_Delta")
broken("link_in_staging", lambda l: os.symlink("/etc", os.path.join(l.root, b"Files/escape")), "Files/escape")


def small(root, files, folders):
    layer = Layer(root)
    chance = random.Random(1)
    names = []
    for index in range(folders):
        parent = chance.choice(names) + "/" if names and index % 5 else ""
        if parent.count("/") > 8:
            parent = ""
        names.append(f"{parent}folder {index:05}")
        layer.folder(names[-1])
    for index in range(files):
        layer.file(f"{chance.choice(names)}/file {index:06}.dat", data=chance.randbytes(chance.randint(1024, 8192)))
    layer.finish()


def large(root, count, mib):
    layer = Layer(root)
    chance = random.Random(2)
    for index in range(count):
        layer.file(f"large {index}", data=b"".join(chance.randbytes(1 << 20) for _ in range(mib)))
    layer.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--only", action="append")
    parser.add_argument("--small-files", type=int, default=0)
    parser.add_argument("--small-folders", type=int, default=0)
    parser.add_argument("--large", type=int, default=0)
    parser.add_argument("--large-mib", type=int, default=64)
    options = parser.parse_args()
    os.makedirs(options.folder, exist_ok=True)
    if options.small_files:
        small(os.path.join(options.folder, "small"), options.small_files, options.small_folders)
    if options.large:
        large(os.path.join(options.folder, "large"), options.large, options.large_mib)
    if not options.small_files and not options.large:
        for name, build in CASES.items():
            if not options.only or name in options.only:
                build(os.path.join(options.folder, name))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
