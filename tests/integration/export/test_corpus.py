#!/usr/bin/env python3
"""Exports every case of the corpus under Wine and checks it with check_tar.py, which shares no code with the exporter.

Needs HCSD_BUILD_DIR and HCSD_WINE_RUN, as ctest sets them.
"""
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
TOOL = os.path.join(os.environ["HCSD_BUILD_DIR"], "tests", "export_tool.exe")
WINE_RUN = os.environ["HCSD_WINE_RUN"]
CASES = ("plain", "metadata", "links", "streams", "sparse", "whiteouts", "recycle", "utility_vm", "hostile")


def windows(path):
    return "Z:" + path.replace("/", "\\")


def sha256(path):
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else \
            "sha256:" + hashlib.sha256(file.read()).hexdigest()


class Corpus(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="hcsd-export-")
        self.addCleanup(subprocess.run, ["rm", "-rf", self.folder], check=False)

    def make(self, case, where="corpus"):
        path = os.path.join(self.folder, where)
        subprocess.run([sys.executable, os.path.join(HERE, "make_corpus.py"), path, "--only", case], check=True)
        return os.path.join(path, case)

    def tool(self, *arguments, fails=False):
        done = subprocess.run([WINE_RUN, "--prefix", "export", "--timeout", "100", "--", TOOL, *arguments],
                              capture_output=True, text=True, check=False)
        if fails:
            self.assertEqual(1, done.returncode, done.stdout + done.stderr)
            return json.loads(done.stderr.strip().splitlines()[-1])
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        return json.loads(done.stdout.strip().splitlines()[-1])

    def archive(self, folder, name, *more, fails=False):
        output = os.path.join(self.folder, name)
        return output, self.tool("archive", windows(folder), windows(output), *more, fails=fails)

    def check(self, folder, tar):
        done = subprocess.run([sys.executable, os.path.join(HERE, "check_tar.py"), "--transport", folder, tar],
                              capture_output=True, text=True, check=False)
        self.assertEqual(0, done.returncode, done.stdout[-3000:] + done.stderr[-3000:])

    def test_cases(self):
        for case in CASES:
            with self.subTest(case):
                kept = self.make(case)
                tar, result = self.archive(kept, case + ".tar")
                self.check(kept, tar)
                self.assertEqual(sha256(tar), result["digest"])
                self.assertEqual(result["digest"], result["diff_id"])
                self.assertEqual(os.path.getsize(tar), result["size"])
                if os.path.exists(kept + ".expect.json"):
                    with open(kept + ".expect.json", encoding="utf-8") as file:
                        expected = json.load(file)["deviations"]
                    found = [f"{row['kind']}:{row['path']}" for row in result["deviations"] if row["kind"] != "no_backup_read"]
                    self.assertEqual(sorted(expected), sorted(found))

                # The same once more, removing on the way: same digest, and nothing is left.
                again = self.make(case, "again")
                _, second = self.archive(again, case + ".2.tar", "--remove")
                if case != "hostile":  # two of its names are listed alike and may change places
                    self.assertEqual(result["digest"], second["digest"])
                left = self.tool("remove", windows(again))
                self.assertEqual([], left["left"])
                self.assertFalse(os.path.exists(again))

    def test_compressions(self):
        kept = self.make("plain")
        plain, first = self.archive(kept, "plain.tar")
        for compression in ("gzip", "zstd"):
            tar, result = self.archive(kept, "plain." + compression, "--compression", compression)
            self.check(kept, tar)
            self.assertEqual(sha256(tar), result["digest"])
            self.assertEqual(first["diff_id"], result["diff_id"])
            self.assertLess(result["size"], first["size"])
            command = ["gzip", "-dc"] if compression == "gzip" else ["zstd", "-dcq"]
            with open(tar, "rb") as file:
                unpacked = subprocess.run(command, stdin=file, capture_output=True, check=True).stdout
            with open(plain, "rb") as file:
                self.assertEqual(file.read(), unpacked)
            listed = subprocess.run(["bsdtar", "-tf", tar], capture_output=True, check=True).stdout.splitlines()
            self.assertEqual(result["entries"], len(listed))
        with gzip.open(os.path.join(self.folder, "plain.gzip")) as file, open(plain, "rb") as other:
            self.assertEqual(other.read(), file.read())

    def test_broken_folders(self):
        cases = subprocess.run([sys.executable, "-c", "import make_corpus; print(*make_corpus.CASES)"], cwd=HERE, check=True,
                               capture_output=True, text=True).stdout.split()
        for case in cases:
            if not case.startswith("broken_"):
                continue
            with self.subTest(case):
                folder = self.make(case)
                with open(folder + ".expect.json", encoding="utf-8") as file:
                    expected = json.load(file)
                output, error = self.archive(folder, "broken.tar", fails=True)
                self.assertEqual((expected["fails"], expected["object"]), (error["code"], error["object"]), error)
                self.assertFalse(os.path.exists(output))
                self.assertEqual([], [name for name in os.listdir(self.folder) if "partial" in name])

    def test_cancelled(self):
        folder = self.make("plain")
        for compression in ("none", "gzip", "zstd"):
            output, error = self.archive(folder, "cancelled.tar", "--compression", compression, "--cancel-after", "1", fails=True)
            self.assertEqual("CANCELLED", error["code"], error)
            self.assertFalse(os.path.exists(output))
            self.assertEqual(["corpus"], sorted(os.listdir(self.folder)))

    def test_base_layer(self):
        """Walked in place: Files, then UtilityVM with its Files; nothing is removed."""
        layer = os.path.join(self.folder, "base")
        for folder in ("Files/Windows/System32", "Files/$Recycle.Bin/x", "UtilityVM/Files/EFI", "UtilityVM/other", "Hives"):
            os.makedirs(os.path.join(layer, folder))
        for name in ("Files/Windows/notepad.exe", "Files/Windows/System32/big.dll", "Files/$Recycle.Bin/x/junk",
                     "UtilityVM/Files/EFI/BCD", "UtilityVM/SystemTemplate.vhdx", "Hives/System_Base", "blank.vhdx", "layout"):
            with open(os.path.join(layer, name), "wb") as file:
                file.write(name.encode() * (20000 if "big" in name else 1))
        os.link(os.path.join(layer, "Files/Windows/notepad.exe"), os.path.join(layer, "Files/Windows/write.exe"))
        before = sorted(os.path.join(at, name) for at, folders, names in os.walk(layer) for name in folders + names)
        tar, result = self.archive(layer, "base.tar", "--base", "--remove")
        self.assertEqual(["recycle_bin"], [row["kind"] for row in result["deviations"] if row["kind"] != "no_backup_read"])
        listed = subprocess.run([sys.executable, "-c", "import sys, tarfile\nfor m in tarfile.open(sys.argv[1]):"
                                 " print(m.type.decode(), m.name, m.size, m.linkname, 'MSWINDOWS.rawsd' in m.pax_headers)", tar],
                                capture_output=True, text=True, check=True).stdout.splitlines()
        self.assertEqual(["5 Files 0  True", "5 Files/Windows 0  True", "5 Files/Windows/System32 0  True",
                          "0 Files/Windows/System32/big.dll 600000  True", "0 Files/Windows/notepad.exe 25  True",
                          "1 Files/Windows/write.exe 0 Files/Windows/notepad.exe False", "5 UtilityVM 0  True",
                          "5 UtilityVM/Files 0  True", "5 UtilityVM/Files/EFI 0  True", "0 UtilityVM/Files/EFI/BCD 23  True"],
                         listed)
        after = sorted(os.path.join(at, name) for at, folders, names in os.walk(layer) for name in folders + names)
        self.assertEqual(before, after)

    def test_links_out_of_the_tree(self):
        """The remover takes links as links: what they point at stays, also where Wine cannot delete the link itself."""
        outside = os.path.join(self.folder, "outside")
        tree = os.path.join(self.folder, "tree")
        os.makedirs(outside)
        os.makedirs(tree + "/below")
        with open(outside + "/keep", "w", encoding="utf-8") as file:
            file.write("keep")
        os.symlink(outside, tree + "/below/folder link")
        os.symlink(outside + "/keep", tree + "/below/file link")
        os.symlink(".", tree + "/below/loop")
        os.symlink("nowhere", tree + "/below/dangling")
        report = self.tool("remove", windows(tree))
        self.assertEqual(["keep"], os.listdir(outside))
        left = {row["path"] for row in report["left"]}
        self.assertLessEqual(left, {"below/folder link", "below/loop", "below/file link"})
        for path in left:
            self.assertTrue(os.path.lexists(os.path.join(tree, path)))

    def test_checker_sees_differences(self):
        """The checker would be worth nothing if it found nothing."""
        folder = self.make("links")
        tar, _ = self.archive(folder, "links.tar")
        with open(tar, "rb") as file:
            content = bytearray(file.read())
        at = content.index(b"MSWINDOWS.fileattr=")
        content[at + 19:at + 20] = b"9"
        with open(tar, "wb") as file:
            file.write(content)
        done = subprocess.run([sys.executable, os.path.join(HERE, "check_tar.py"), "--transport", folder, tar],
                              capture_output=True, text=True, check=False)
        self.assertEqual(1, done.returncode, done.stdout)
        self.assertIn("fileattr", done.stdout)


if __name__ == "__main__":
    if not shutil.which("zstd") or not shutil.which("bsdtar"):
        sys.exit("zstd and bsdtar are needed (Debian: zstd, libarchive-tools)")
    unittest.main(verbosity=2)
