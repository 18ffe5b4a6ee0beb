#!/usr/bin/env python3
"""Imports archives under Wine: what the exporter made comes back with the same digest, what could escape or cannot be is refused
with the entry named, and nothing is left of a failed import.

The archives that are refused, and those of foreign tools, are made with Python's tarfile, which shares no code with the engine.
Needs HCSD_BUILD_DIR and HCSD_WINE_RUN, as ctest sets them.
"""
import base64
import gzip
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
TOOL = os.path.join(os.environ["HCSD_BUILD_DIR"], "tests", "export_tool.exe")
WINE_RUN = os.environ["HCSD_WINE_RUN"]
ROUND_TRIPS = ("plain", "metadata", "links", "streams", "sparse", "whiteouts", "recycle", "utility_vm")
SECURITY = struct.pack("<BBHIIII", 1, 0, 0x8000, 20, 32, 0, 0) + bytes.fromhex("010100000000000512000000") * 2


def windows(path):
    return "Z:" + path.replace("/", "\\")


class Tar:
    """An archive made by hand. Entries: (name, type, fields)."""

    def __init__(self, path, mode="w"):
        self.path = path
        self.tar = tarfile.open(path, mode, format=tarfile.PAX_FORMAT)
        self.folder("Files")

    def add(self, name, kind=tarfile.REGTYPE, data=b"", link="", mode=0o100000, **pax):
        info = tarfile.TarInfo(name)
        info.type, info.size, info.linkname, info.mode, info.mtime = kind, len(data), link, mode, 1_600_000_000
        info.pax_headers = {key.replace("__", "."): value for key, value in pax.items()}
        self.tar.addfile(info, io.BytesIO(data))
        return self

    def folder(self, name, **pax):
        return self.add(name, tarfile.DIRTYPE, mode=0o040000, MSWINDOWS__fileattr="16", **pax)

    def done(self):
        self.tar.close()
        return self.path


class Import(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="hcsd-import-")
        self.addCleanup(subprocess.run, ["rm", "-rf", self.folder], check=False)

    def path(self, name):
        return os.path.join(self.folder, name)

    def tool(self, *arguments, fails=False):
        done = subprocess.run([WINE_RUN, "--prefix", "export", "--timeout", "100", "--", TOOL, *arguments],
                              capture_output=True, text=True, check=False)
        self.assertEqual(1 if fails else 0, done.returncode, done.stdout + done.stderr)
        return json.loads((done.stderr if fails else done.stdout).strip().splitlines()[-1])

    def corpus(self, case):
        subprocess.run([sys.executable, os.path.join(HERE, "make_corpus.py"), self.path("corpus"), "--only", case], check=True)
        return os.path.join(self.path("corpus"), case)

    def archive(self, folder, name, *more):
        return self.tool("archive", windows(folder), windows(self.path(name)), *more)

    def imported(self, tar, name="imported", *more):
        return self.tool("import", windows(tar), windows(self.path(name)), *more)

    def refused(self, tar, *more):
        error = self.tool("import", windows(tar), windows(self.path("refused")), *more, fails=True)
        self.assertEqual([], os.listdir(self.path("refused")), error)
        return error

    def staged(self, *parts):
        """-> (attributes, {stream id: content}) of an imported file in transport format"""
        with open(os.path.join(self.path("imported"), "Files", *parts), "rb") as file:
            raw = file.read()
        at, found = 4, {}
        while at < len(raw):
            kind, _, size, name = struct.unpack_from("<IIQI", raw, at)
            at += 20 + name
            found[kind] = raw[at:at + size]
            at += size
        return struct.unpack_from("<I", raw)[0], found

    def test_round_trips(self):
        """Export, import, export: the same digest, whatever the compression."""
        for case, compression in zip(ROUND_TRIPS, ("none", "gzip", "zstd") * 3):
            with self.subTest(case):
                first = self.archive(self.corpus(case), case + ".tar", "--compression", compression)
                read = self.imported(self.path(case + ".tar"), case)
                self.assertEqual((first["digest"], first["diff_id"], first["size"], first["entries"], first["media_type"], []),
                                 (read["digest"], read["diff_id"], read["size"], read["entries"], read["media_type"],
                                  read["deviations"]))
                second = self.archive(self.path(case), case + ".2.tar", "--compression", compression)
                self.assertEqual(first["digest"], second["digest"])

    def test_base_layer(self):
        """A base layer is plain files; the second export of it equals the first but for what Wine makes of descriptors."""
        layer = self.path("layer")
        os.makedirs(layer + "/Files/Windows/System32")
        os.makedirs(layer + "/UtilityVM/Files/EFI")
        for name in ("Files/Windows/notepad.exe", "Files/Windows/System32/big.dll", "UtilityVM/Files/EFI/BCD"):
            with open(os.path.join(layer, name), "wb") as file:
                file.write(name.encode() * (20000 if "big" in name else 1))
        os.link(layer + "/Files/Windows/notepad.exe", layer + "/Files/Windows/write.exe")
        for at, folders, names in os.walk(layer):
            for index, name in enumerate(folders + names):
                os.utime(os.path.join(at, name), ns=(10**18, 10**18 + index * 1_234_500))
        first = self.archive(layer, "base.tar", "--base")
        read = self.imported(self.path("base.tar"), "imported", "--base")
        self.assertTrue(read["utility_vm"])
        second = self.archive(self.path("imported"), "base.2.tar", "--base")
        self.assertEqual(first["digest"], second["digest"])
        files = [os.stat(os.path.join(self.path("imported"), "Files/Windows", name)) for name in ("notepad.exe", "write.exe")]
        self.assertEqual(files[0].st_ino, files[1].st_ino)

    def test_refused(self):
        """What could lead out, and what Windows does not have. The entry is named, and nothing is left."""
        long = "x" * 256
        entries = {
            "absolute": ("/Files/x", {}),
            "up": ("Files/../x", {}),
            "up at the end": ("Files/..", {}),
            "here": ("Files/./x", {}),
            "empty part": ("Files//x", {}),
            "backslash": ("Files/a\\..\\..\\x", {}),
            "drive": ("C:/x", {}),
            "drive without slash": ("C:x", {}),
            "drive within": ("Files/C:/x", {}),
            "typed stream": ("Files/a:b:$DATA", {}),
            "stream of nothing": ("Files/a:b", {}),
            "stream of a folder": ("Files::$INDEX_ALLOCATION", {}),
            "device": ("Files/NUL", {}),
            "device with a suffix": ("Files/aux.txt", {}),
            "device with a blank": ("Files/con .txt", {}),
            "superscript device": ("Files/COM\u00b9", {}),
            "dot at the end": ("Files/x.", {}),
            "blank at the end": ("Files/x ", {}),
            "reserved character": ("Files/a?b", {}),
            "control character": ("Files/a\x01b", {}),
            "long name": ("Files/" + long, {}),
            "side file": ("Files/x.$wcidirs$", {}),
            "side file, other case": ("Files/x.$WCIDIRS$", {}),
            "tombstones": ("tombstones.txt", {}),
            "other case": ("files/x", {}),
            "no folder before": ("Files/a/b", {}),
            "a file for a folder": ("Hives", {}),
            "fifo": ("Files/fifo", {"kind": tarfile.FIFOTYPE}),
            "device file": ("Files/null", {"kind": tarfile.CHRTYPE}),
            "link up": ("Files/l", {"kind": tarfile.LNKTYPE, "link": "Files/../../etc/passwd"}),
            "link absolute": ("Files/l", {"kind": tarfile.LNKTYPE, "link": "/etc/passwd"}),
            "link elsewhere": ("Files/l", {"kind": tarfile.LNKTYPE, "link": "Hives/System_Delta"}),
            "whiteout of nothing": ("Files/.wh.", {}),
            "whiteout up": ("Files/.wh...", {}),
            "whiteout of a whiteout": ("Files/.wh..wh.x", {}),
            "whiteout with content": ("Files/.wh.x", {"data": b"x"}),
            "whiteout outside": ("Hives/.wh.x", {}),
            "whiteout of Files": (".wh.Files", {}),
            "attributes of a folder": ("Files/x", {"MSWINDOWS__fileattr": "16"}),
            "link that is none": ("Files/x", {"kind": tarfile.SYMTYPE, "link": "y", "MSWINDOWS__fileattr": "32"}),
            "mount point that is none": ("Files/x", {"MSWINDOWS__mountpoint": "1"}),
        }
        for case, (name, fields) in entries.items():
            with self.subTest(case):
                tar = Tar(self.path("refused.tar")).add("Files/before", data=b"before").add(name, **fields).done()
                error = self.refused(tar)
                self.assertEqual(("INVALID_ARGUMENT", name.rstrip("/").replace("\x01", "\\x01")), (error["code"], error["object"]),
                                 error)

    def test_refused_through_entries(self):
        """Entries that lead through what others made."""
        def behind(build, name, **fields):
            tar = Tar(self.path("refused.tar"))
            build(tar)
            error = self.refused(tar.add(name, **fields).done())
            self.assertEqual(name, error["object"], error)
            return error["code"]

        junction = {"kind": tarfile.SYMTYPE, "link": "C:\\Windows", "MSWINDOWS__fileattr": str(0x410), "MSWINDOWS__mountpoint": "1"}
        for attributes in (junction, dict(junction, MSWINDOWS__mountpoint="")):
            self.assertEqual("INVALID_ARGUMENT", behind(lambda t, a=attributes: t.add("Files/j", **a), "Files/j/evil", data=b"e"))
        self.assertEqual("INVALID_ARGUMENT", behind(lambda t: t.add("Files/f", data=b"f"), "Files/f/evil"))
        self.assertEqual("INVALID_ARGUMENT", behind(lambda t: t.folder("Files/d").add("Files/d/j", **junction), "Files/d/j/k/evil"))
        self.assertEqual("ALREADY_EXISTS", behind(lambda t: t.add("Files/twice", data=b"1"), "Files/twice", data=b"2"))
        self.assertEqual("ALREADY_EXISTS", behind(lambda t: t.add("Files/Case", data=b"1"), "Files/cASE", data=b"2"))
        self.assertEqual("NOT_FOUND", behind(lambda t: None, "Files/l", kind=tarfile.LNKTYPE, link="Files/absent"))
        self.assertEqual("INVALID_ARGUMENT", behind(lambda t: t.add("Files/a", data=b"1").add("Files/b", data=b"2"), "Files/a:late",
                                                    data=b"s"))
        self.assertEqual("INVALID_ARGUMENT",
                         behind(lambda t: t.add("Files/j", **junction), "Files/l", kind=tarfile.LNKTYPE, link="Files/j/x"))

    def test_refused_in_a_base_layer(self):
        for name, fields in {"Hives": {"kind": tarfile.DIRTYPE}, "bcd.bak": {}, "Files/.wh.x": {}}.items():
            error = self.refused(Tar(self.path("refused.tar")).add(name, **fields).done(), "--base")
            self.assertEqual(("INVALID_ARGUMENT", name), (error["code"], error["object"]), error)
        tar = Tar(self.path("refused.tar")).folder("UtilityVM").add("UtilityVM/SystemTemplate.vhdx", data=b"x").done()
        self.assertEqual("UtilityVM/SystemTemplate.vhdx", self.refused(tar, "--base")["object"])

    def test_damaged(self):
        good = Tar(self.path("good.tar")).add("Files/x", data=b"x" * 5000).done()
        with open(good, "rb") as file:
            whole = file.read()

        def damaged(content, suffix=""):
            with open(self.path("damaged.tar" + suffix), "wb") as file:
                file.write(content)
            return self.refused(self.path("damaged.tar" + suffix))["code"]

        at = whole.index(b"Files/x")
        self.assertEqual("DATA_LOSS", damaged(whole[:at] + b"Files/y" + whole[at + 7:]))  # the checksum
        for cut in (0, 100, at + 50, at + 600, at + 4000):
            self.assertEqual("DATA_LOSS", damaged(whole[:cut]), cut)
        self.assertEqual("DATA_LOSS", damaged(gzip.compress(whole)[:-300], ".gz"))
        self.assertEqual("DATA_LOSS", damaged(b"not an archive " * 100))
        for record, value in {"MSWINDOWS__rawsd": "!!!!", "MSWINDOWS__fileattr": "-1", "MSWINDOWS__xattr.A": "?", "mtime": "soon",
                              "GNU__sparse__major": "1"}.items():
            tar = Tar(self.path("refused.tar")).add("Files/x", **{record: value}).done()
            self.assertEqual("DATA_LOSS", self.refused(tar)["code"], record)

    def test_foreign_archive(self):
        """As other tools write them: no Windows records, USTAR and GNU names, unknown records, one zero block."""
        tar = Tar(self.path("foreign.tar"))
        tar.folder("Files/d").add("Files/d/script", data=b"echo", mode=0o644, SCHILY__xattr__x="v", uid="1000")
        tar.add("Files/old", data=b"o", MSWINDOWS__sd="O:SYG:SYD:(A;;FA;;;SY)", MSWINDOWS__fileattr="33",
                LIBARCHIVE__creationtime="1500000000.1234567", mtime="1500000001.5")
        tar.add("Files/old:zone", data=b"z")
        with open(tar.done(), "rb") as file:
            content = file.read()
        with open(self.path("foreign.tar"), "wb") as file:
            file.write(content[:content.rindex(b"z") // 512 * 512 + 1024])
        read = self.imported(self.path("foreign.tar"))
        self.assertEqual([("record_left_out", "Files/d/script")], [(row["kind"], row["path"]) for row in read["deviations"]])
        self.assertEqual((0, {1: b"echo"}), self.staged("d", "script"))
        attributes, streams = self.staged("old")
        self.assertEqual((33, b"o", b"z"), (attributes, streams[1], streams[4]))
        self.assertEqual(b"\1\0\4\x80", streams[3][:4])  # SDDL became a self-relative descriptor with a DACL
        self.assertEqual(1500000001_500000000, os.stat(self.path("imported/Files/old")).st_mtime_ns)
        self.assertEqual((0x10, {}), self.staged("d.$wcidirs$"))

    def test_for_hcs(self):
        """Whiteouts and hard links are not staged; import_apply makes them in the layer, and folders keep their times."""
        tar = Tar(self.path("hcs.tar")).folder("Hives").folder("Files/d")
        tar.add("Files/d/.wh.gone").add("Files/.wh.tree").add("Files/.wh.absent").add("Files/d/.wh.link")
        tar.add("Files/new", data=b"new").add("Files/d/second", tarfile.LNKTYPE, link="Files/new")
        tar.add("Files/d/third", tarfile.LNKTYPE, link="Files/parents")
        tar.done()
        read = self.imported(self.path("hcs.tar"), "imported", "--hcs")
        self.assertEqual((4, 2), (read["whiteouts"], read["links"]))
        self.assertEqual(["Files", "Files.$wcidirs$", "Hives", "Hives.$wcidirs$"], sorted(os.listdir(self.path("imported"))))
        self.assertEqual(["d", "d.$wcidirs$", "new"], sorted(os.listdir(self.path("imported/Files"))))

        layer, parent = self.path("layer"), self.path("parent")
        os.makedirs(layer + "/Files/d")
        os.makedirs(layer + "/Files/tree/below/deep")
        os.makedirs(parent + "/Files")
        os.makedirs(self.path("outside"))
        for name in ("layer/Files/d/gone", "layer/Files/d/third", "layer/Files/tree/below/deep/x", "layer/Files/new", "layer/Files/stays",
                     "parent/Files/parents", "outside/keep"):
            with open(self.path(name), "w", encoding="utf-8") as file:
                file.write(name)
        times = (10**18, 10**18 + 1_234_500)
        os.utime(layer + "/Files/d", ns=times)
        self.tool("apply", windows(self.path("hcs.tar")), windows(layer), windows(parent))
        self.assertEqual(["d", "new", "stays"], sorted(os.listdir(layer + "/Files")))
        self.assertEqual(["second", "third"], sorted(os.listdir(layer + "/Files/d")))
        self.assertTrue(os.path.samefile(layer + "/Files/d/second", layer + "/Files/new"))
        self.assertTrue(os.path.samefile(layer + "/Files/d/third", parent + "/Files/parents"))
        self.assertEqual(times[1], os.stat(layer + "/Files/d").st_mtime_ns)

        error = self.tool("apply", windows(self.path("hcs.tar")), windows(layer), fails=True)
        self.assertEqual(("NOT_FOUND", "Files/parents"), (error["code"], error["object"]))

    def test_utility_vm(self):
        """Made in the layer from the parent's: boot files copied, all else linked until it changes; the parent stays as it is."""
        parent, layer = self.path("parent"), self.path("layer")
        boot = "UtilityVM/Files/EFI/Microsoft/Boot"
        os.makedirs(os.path.join(parent, boot))
        os.makedirs(os.path.join(parent, "UtilityVM/Files/Windows/old"))
        os.makedirs(layer)
        for name in (boot + "/BCD", boot + "/bootmgfw.efi", "UtilityVM/Files/Windows/same", "UtilityVM/Files/Windows/changed",
                     "UtilityVM/Files/Windows/old/x", "UtilityVM/Files/Windows/gone", "UtilityVM/SystemTemplate.vhdx"):
            with open(os.path.join(parent, name), "w", encoding="utf-8") as file:
                file.write("parent's " + name)
        times = (10**18, 10**18 + 1_234_500)
        os.utime(os.path.join(parent, "UtilityVM/Files/EFI"), ns=times)
        before = {os.path.join(at, name): os.stat(os.path.join(at, name)).st_mtime_ns
                  for at, folders, names in os.walk(parent) for name in folders + names}

        def tar():
            return Tar(self.path("vm.tar")).folder("Hives").folder("UtilityVM").folder("UtilityVM/Files")

        good = tar().folder("UtilityVM/Files/Windows").add("UtilityVM/Files/Windows/changed", data=b"changed")
        good.add("UtilityVM/Files/Windows/old", data=b"a file now").add("UtilityVM/Files/Windows/.wh.gone")
        good.add("UtilityVM/Files/Windows/linked", tarfile.LNKTYPE, link="UtilityVM/Files/Windows/changed")
        where = ("--hcs", "--layer", windows(layer), "--parent", windows(parent))
        self.assertTrue(self.imported(good.done(), "imported", *where)["utility_vm"])
        self.assertEqual(["Files", "Files.$wcidirs$", "Hives", "Hives.$wcidirs$"], sorted(os.listdir(self.path("imported"))))
        own = os.path.join(layer, "UtilityVM")
        self.assertEqual(["Files"], os.listdir(own))
        self.assertEqual(["changed", "linked", "old", "same"], sorted(os.listdir(own + "/Files/Windows")))

        def same(name):
            return os.path.samefile(os.path.join(layer, name), os.path.join(parent, name))

        self.assertTrue(same("UtilityVM/Files/Windows/same") and same(boot + "/bootmgfw.efi"))
        self.assertFalse(same(boot + "/BCD"))
        with open(os.path.join(layer, boot, "BCD"), encoding="utf-8") as file:
            self.assertEqual("parent's " + boot + "/BCD", file.read())
        self.assertTrue(os.path.samefile(own + "/Files/Windows/linked", own + "/Files/Windows/changed"))
        with open(own + "/Files/Windows/linked", "rb") as file:
            self.assertEqual(b"changed", file.read())
        self.assertEqual(times[1], os.stat(own + "/Files/EFI").st_mtime_ns)
        self.assertEqual(before, {path: os.stat(path).st_mtime_ns for path in before})
        with open(os.path.join(parent, "UtilityVM/Files/Windows/changed"), encoding="utf-8") as file:
            self.assertEqual("parent's UtilityVM/Files/Windows/changed", file.read())

        # What fails leaves the layer as it was.
        subprocess.run(["rm", "-rf", own], check=True)
        for build, name, code in ((lambda t: t.add("UtilityVM/Files/.wh.absent"), "UtilityVM/Files/absent", "NOT_FOUND"),
                                  (lambda t: t.add("UtilityVM/SystemTemplate.vhdx", data=b"x"), "UtilityVM/SystemTemplate.vhdx",
                                   "INVALID_ARGUMENT"),
                                  (lambda t: t.folder("UtilityVM"), "UtilityVM", "ALREADY_EXISTS")):
            error = self.refused(build(tar()).done(), *where)
            self.assertEqual((code, name), (error["code"], error["object"]), error)
            self.assertEqual([], os.listdir(layer))
        self.assertEqual("FAILED_PRECONDITION", self.refused(tar().done(), "--hcs")["code"])
        subprocess.run(["rm", "-rf", os.path.join(parent, "UtilityVM")], check=True)
        self.assertEqual("FAILED_PRECONDITION", self.refused(tar().done(), *where)["code"])

    def test_cancelled_and_in_the_way(self):
        folder = self.corpus("plain")
        self.archive(folder, "plain.tar")
        error = self.refused(self.path("plain.tar"), "--cancel-after", "500000")
        self.assertEqual("CANCELLED", error["code"], error)
        os.makedirs(self.path("full/Files"))
        error = self.tool("import", windows(self.path("plain.tar")), windows(self.path("full")), fails=True)
        self.assertEqual("FAILED_PRECONDITION", error["code"], error)
        self.assertEqual(["Files"], os.listdir(self.path("full")))

    def test_names_without_utf16(self):
        """A lone surrogate is WTF-8 with hdrcharset=BINARY; without that record its bytes are no name."""
        path = "Files/lone \udc80"
        raw = path.encode("utf-8", "surrogatepass")

        def record(key, value):
            size = len(key) + len(value) + 3
            size += len(str(size + len(str(size))))
            return str(size).encode() + b" " + key + b"=" + value + b"\n"

        def build(records):
            with open(Tar(self.path("front.tar")).done(), "rb") as file:
                front = file.read(512 * 3)  # extended header, its records, Files
            with open(self.path("binary.tar"), "wb") as file:
                body = b"".join(records)
                file.write(front)
                head = tarfile.TarInfo("PaxHeaders.0/x")
                head.type, head.size = b"x", len(body)
                file.write(head.tobuf(tarfile.USTAR_FORMAT) + body.ljust((len(body) + 511) // 512 * 512, b"\0"))
                entry = tarfile.TarInfo("x")
                file.write(entry.tobuf(tarfile.USTAR_FORMAT) + bytes(1024))
            return self.path("binary.tar")

        error = self.refused(build([record(b"path", raw)]))
        self.assertIn("UTF-8", error["message"])
        # Wine has no way to make such a name: that it is asked to is what can be seen here.
        done = self.tool("import", windows(build([record(b"hdrcharset", b"BINARY"), record(b"path", raw)])),
                         windows(self.path("refused")), fails=True)
        self.assertNotEqual("INVALID_ARGUMENT", done["code"], done)


if __name__ == "__main__":
    unittest.main(verbosity=2)
