#!/usr/bin/env python3
"""Exports through the daemon and a worker process: to a file, streamed, in each compression, cancelled, and at once."""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from host import ROOT, Host, in_background, wait_until  # noqa: E402

CHECKER = os.path.join(ROOT, "tests", "integration", "export", "check_tar.py")
MEDIA_TYPES = {"none": "application/vnd.oci.image.layer.v1.tar", "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
               "zstd": "application/vnd.oci.image.layer.v1.tar+zstd"}


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Export(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = host = Host("export").boot()
        host.write_config()
        host.start_console()
        files = {f"tree/d{index % 37}/f{index}.txt": (f"file {index}\n" * (index % 400)).encode() for index in range(800)}
        files |= {"data/random.bin": os.urandom(3_000_000), "empty.txt": b"", "Ünïcödé/名前.txt": b"name\n", "folder/empty": None}
        host.make_layer("app", files)
        base = {name: data for name, data in list(files.items())[::3]}
        host.make_layer("base", base | {"gone/one.txt": b"1", "gone/two.txt": b"2", "tree/d1/gone.txt": b"3"})
        for name, data in base.items():
            if data is not None:
                shutil.copystat(host.unix(f"C:/layers/app/Files/{name}"), host.unix(f"C:/layers/base/Files/{name}"))

    @classmethod
    def tearDownClass(cls):
        cls.host.end()

    def export(self, output, *more):
        return self.host.ctl("layer", "export", "--layer", "C:\\layers\\app", "--parent", "C:\\layers\\base", "--output", output,
                             "--wait-cleanup", *more)

    def check_archive(self, path):
        checked = subprocess.run([sys.executable, CHECKER, "--layer", self.host.unix("C:/layers/app"), "--parent",
                                  self.host.unix("C:/layers/base"), path], capture_output=True, text=True, check=False)
        self.assertEqual(0, checked.returncode, checked.stdout + checked.stderr)

    def assert_nothing_left(self):
        self.assertEqual([], os.listdir(self.host.unix("C:/ProgramData/hcsd/staging")))
        books = self.host.books()
        self.assertEqual([], list(books["activated"]))
        self.assertEqual([], list(books["prepared"]))

    def test_each_compression(self):
        plain = None
        for compression, media_type in MEDIA_TYPES.items():
            with self.subTest(compression):
                path = self.host.unix(f"C:/out/{compression}.tar")
                result = self.export(f"C:\\out\\{compression}.tar", "--compression", compression).json
                with open(path, "rb") as file:
                    data = file.read()
                self.assertEqual((sha256(data), len(data), media_type, "done"),
                                 (result["digest"], result["size"], result["media_type"], result["cleanup"]))
                # Wine has no BackupRead, and the result says so; there is nothing else to say.
                self.assertEqual(["no_backup_read"], [row["kind"] for row in result["deviations"]])
                if compression == "gzip":
                    unpacked = gzip.decompress(data)
                elif compression == "zstd":
                    unpacked = subprocess.run(["zstd", "-dc", path], check=True, capture_output=True).stdout
                else:
                    unpacked = data
                self.assertEqual(sha256(unpacked), result["diff_id"])
                plain = plain or unpacked
                self.assertEqual(len(plain), len(unpacked), "the same tar, however compressed")
                self.assertEqual(sha256(plain), sha256(unpacked))
                self.check_archive(path)
        self.assert_nothing_left()

    def test_streamed_is_the_same(self):
        path = self.host.unix("C:/out/streamed.tar.gz")
        ran = self.host.run(*self.host.ctl_command("layer", "export", "--layer", "C:\\layers\\app", "--parent", "C:\\layers\\base",
                                                   "--output", "-"))
        self.assertEqual(0, ran.status, ran.error_text)
        with open(path, "wb") as file:
            file.write(ran.output)
        self.check_archive(path)
        written = self.export("C:\\out\\written.tar.gz").json
        self.assertEqual(written["digest"], sha256(ran.output))

    def test_base_layer_is_walked_in_place(self):
        host = self.host
        before = subprocess.run(["find", host.unix("C:/layers/base"), "-printf", "%P %s %T@\n"], capture_output=True, check=True).stdout
        result = host.ctl("layer", "export", "--layer", "C:\\layers\\base", "--output", "C:\\out\\base.tar", "--compression",
                          "none").json
        after = subprocess.run(["find", host.unix("C:/layers/base"), "-printf", "%P %s %T@\n"], capture_output=True, check=True).stdout
        self.assertEqual(before, after)
        listed = subprocess.run(["bsdtar", "-tf", host.unix("C:/out/base.tar")], capture_output=True, check=True).stdout
        self.assertEqual(result["entries"], len(listed.splitlines()))
        self.assertIn(b"Files/gone/one.txt", listed)

    def test_many_at_once(self):
        for index in range(6):
            shutil.copytree(self.host.unix("C:/layers/app"), self.host.unix(f"C:/layers/app{index}"))
        joins = [in_background(lambda index=index: self.host.ctl(
            "layer", "export", "--layer", f"C:\\layers\\app{index}", "--parent", "C:\\layers\\base", "--output",
            f"C:\\out\\many{index}.tar", "--compression", "none", "--wait-cleanup").json) for index in range(6)]
        self.assertEqual(1, len({join()["digest"] for join in joins}))
        self.assert_nothing_left()

    def test_cancel_leaves_nothing(self):
        host = self.host
        host.make_layer("large", {f"f{index:02}.bin": os.urandom(8 << 20) for index in range(16)})
        join = in_background(lambda: host.refused("layer", "export", "--layer", "C:\\layers\\large", "--parent", "C:\\layers\\base",
                                                  "--output", "C:\\out\\large.tar.gz"))

        def running():
            return next((job for job in host.ctl("job", "ls").json["jobs"]
                         if job["object"].endswith("large") and job["state"] == "running"), None)

        job = wait_until("the export runs", running)
        host.ctl("job", "cancel", job["id"])
        self.assertEqual("CANCELLED", join()["code"])
        self.assertEqual("cancelled", host.ctl("job", "show", job["id"]).json["state"])
        self.assertFalse([name for name in os.listdir(host.unix("C:/out")) if name.startswith("large")])
        wait_until("staging is empty", lambda: not os.listdir(host.unix("C:/ProgramData/hcsd/staging")))
        wait_until("the layer is released", lambda: not host.books()["activated"])
        self.assertEqual("FAILED_PRECONDITION", host.refused("job", "cancel", job["id"])["code"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
