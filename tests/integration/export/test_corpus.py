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
import tarfile
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

    def tool(self, *arguments, fails=False, **environment):
        done = subprocess.run([WINE_RUN, "--prefix", "export", "--timeout", "100", "--", TOOL, *arguments],
                              capture_output=True, text=True, check=False, env={**os.environ, **environment})
        if fails:
            self.assertEqual(1, done.returncode, done.stdout + done.stderr)
            return json.loads(done.stderr.strip().splitlines()[-1])
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        return json.loads(done.stdout.strip().splitlines()[-1])

    def archive(self, folder, name, *more, **options):
        output = os.path.join(self.folder, name)
        return output, self.tool("archive", windows(folder), windows(output), *more, **options)

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

    def test_cancelled_within_a_file(self):
        """What is under way when it is cancelled is all that is written still, in the middle of a file of 100 MiB as well."""
        folder = os.path.join(self.folder, "corpus", "large")
        subprocess.run([sys.executable, os.path.join(HERE, "make_corpus.py"), os.path.dirname(folder), "--large", "1", "--large-mib", "100"],
                       check=True)
        output = os.path.join(self.folder, "cancelled.tar")
        for compression in ("none", "zstd"):
            done = subprocess.run([WINE_RUN, "--prefix", "export", "--timeout", "100", "--", TOOL, "archive", windows(folder),
                                   windows(output), "--compression", compression, "--cancel-after", str(10 << 20)],
                                  capture_output=True, text=True, check=False)
            self.assertEqual(1, done.returncode, done.stderr)
            self.assertEqual("CANCELLED", json.loads(done.stderr.strip().splitlines()[-1])["code"])
            written = json.loads(done.stdout.strip().splitlines()[-1])["written"]
            self.assertLessEqual(10 << 20, written)
            self.assertLessEqual(written, 13 << 20)  # the chunk in hand
            self.assertFalse(os.path.exists(output))

    def test_killed(self):
        """An export that is killed leaves nothing of its output, and neither does one whose writer is stuck."""
        folder = self.make("plain")
        environment = dict(line.split("=", 1) for line in subprocess.run(
            ["bash", "-c", subprocess.run([WINE_RUN, "--prefix", "export", "--env"], capture_output=True, text=True, check=True).stdout +
             "\nenv -0"], capture_output=True, check=True).stdout.decode().split("\0") if "=" in line)
        out = os.path.join(self.folder, "out")
        os.makedirs(out)
        with open(os.path.join(out, "killed.tar"), "wb") as file:
            file.write(b"what was there before")
        child = subprocess.Popen([environment["WINE"], TOOL, "archive", windows(folder), windows(os.path.join(out, "killed.tar")),
                                  "--hold-after", "600000"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assertEqual(b"held", child.stdout.readline().strip())
        partial = [name for name in os.listdir(out) if name != "killed.tar"]
        self.assertEqual(1, len(partial))
        self.assertLessEqual(600000, os.path.getsize(os.path.join(out, partial[0])))
        child.kill()
        child.communicate()
        # The next program's start comes after the server has closed what the killed one had open.
        self.archive(folder, "after.tar")
        self.assertEqual(["killed.tar"], os.listdir(out))
        with open(os.path.join(out, "killed.tar"), "rb") as file:
            self.assertEqual(b"what was there before", file.read())

    def test_lone_surrogates(self):
        """Names that are no UTF-16, by a linker's wrap around three calls: exported as WTF-8, removed, and imported again."""
        kept = self.make("surrogates")
        tar, result = self.archive(kept, "surrogates.tar", HCSD_TEST_SURROGATES="1")
        self.assertEqual(["not_utf16"] * 7, [row["kind"] for row in result["deviations"] if row["kind"] != "no_backup_read"][:7])
        with tarfile.open(tar, errors="surrogateescape") as archive:
            found = {member.name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogatepass"): member for member in archive}
        wanted = ["Files/folder \udc01", "Files/folder \udc01/inside", "Files/lone \udc80", "Files/\udcff", "Files/plain/two \udc10\udc11",
                  "Files/plain/\U0001f600 and \udc12", "Files/streams \udc20", "Files/streams \udc20:lone \udc21",
                  "Files/plain/linked \udc30"]
        for name in wanted:
            self.assertIn(name, found)
            self.assertEqual("BINARY", found[name].pax_headers.get("hdrcharset"), name)
        inside = os.path.join(self.folder, "imported")
        self.tool("import", windows(tar), windows(inside), HCSD_TEST_SURROGATES="1")
        self.assertTrue(os.path.exists(os.path.join(inside, "Files/folder \ue001/inside")))
        self.assertTrue(os.path.samefile(os.path.join(inside, "Files/lone \ue080"), os.path.join(inside, "Files/plain/linked \ue030")))
        _, second = self.archive(inside, "again.tar", "--remove", HCSD_TEST_SURROGATES="1")
        self.assertEqual(result["digest"], second["digest"])
        self.assertEqual([], self.tool("remove", windows(inside), HCSD_TEST_SURROGATES="1")["left"])
        self.assertFalse(os.path.exists(inside))

    def test_longer_than_a_path(self):
        """Below what a Unix path can say everything is exported. Wine's server deletes by path: what it cannot is reported."""
        folder = self.make("long")
        tar, _ = self.archive(folder, "long.tar", "--remove")
        self.check(self.make("long", "again"), tar)
        left = self.tool("remove", windows(folder))["left"]
        for row in left:
            self.assertEqual("not_removed", row["kind"])
            self.assertTrue(row["detail"])
        self.assertEqual(bool(left), os.path.exists(folder))
        if left:  # what is left is the way down to what is reported, and that
            deepest = max(left, key=lambda row: len(row["path"]))["path"].split("/")
            self.assertGreater(len("/".join(deepest)) + len(folder), 3500)
            self.assertEqual(["Files"], os.listdir(folder))

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
