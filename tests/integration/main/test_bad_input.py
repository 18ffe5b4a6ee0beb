#!/usr/bin/env python3
"""Bad input gets a clear error naming what and why, with the right gRPC status, and changes nothing."""

import json
import os
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from host import Host, wait_until  # noqa: E402


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = host = Host("bad-input").boot()
        host.write_config()
        host.start_console()
        host.make_layer("base", {"hello.txt": b"hello\n"})
        host.make_layer("app", {"hello.txt": b"hello, app\n", "bin/tool.exe": os.urandom(200_000)})
        cls.before = cls.snapshot()

    @classmethod
    def tearDownClass(cls):
        cls.host.end()

    @classmethod
    def snapshot(cls):
        """All that a refused call must not have changed."""
        books = cls.host.books()
        out = sorted(os.listdir(cls.host.unix("C:/out")))
        staging = sorted(os.listdir(cls.host.unix("C:/ProgramData/hcsd/staging")))
        tasks = cls.host.ctl("task", "ls").json["tasks"]
        return {"systems": sorted(books["systems"]), "prepared": sorted(books["prepared"]),
                "activated": sorted(books["activated"]), "out": out, "staging": staging, "tasks": tasks}

    def check(self, error, code, *words):
        self.assertEqual(code, error["code"], error)
        said = json.dumps(error, ensure_ascii=False).replace("\\\\", "\\")
        for word in words:
            self.assertIn(word, said)
        self.assertTrue(error["operation"], error)

    def tearDown(self):
        self.assertEqual(self.before, self.snapshot())

    # ---- tasks --------------------------------------------------------------------------------------------------

    def test_unknown_id(self):
        for verb in (["state"], ["start"], ["kill"], ["wait"], ["delete"]):
            self.check(self.host.refused("task", *verb, "nobody"), "NOT_FOUND", "nobody")

    def test_id_that_is_none(self):
        bundle = self.host.make_bundle("named", "emu:exit 0")
        for name in ("..", "a b", "a/b", "-x-", "x" * 77):
            self.check(self.host.refused("task", "create", "--bundle", bundle, "--", name), "INVALID_ARGUMENT")

    def test_namespace_that_is_none(self):
        self.check(self.host.refused("--namespace", "a b", "task", "ls"), "INVALID_ARGUMENT", "namespace")

    def test_id_in_use(self):
        host = self.host
        bundle = host.make_bundle("taken", "emu:sleep 3600")
        host.ctl("task", "create", "--bundle", bundle, "taken")
        try:
            self.check(host.refused("task", "create", "--bundle", bundle, "taken"), "ALREADY_EXISTS", "taken")
            self.assertEqual("created", host.ctl("task", "state", "taken").json["status"])
        finally:
            host.ctl("task", "delete", "taken")

    def test_wrong_state(self):
        host = self.host
        bundle = host.make_bundle("order", "emu:sleep 3600")
        host.ctl("task", "create", "--bundle", bundle, "order")
        host.ctl("task", "start", "order")
        self.check(host.refused("task", "start", "order"), "FAILED_PRECONDITION", "order")
        self.check(host.refused("task", "delete", "order"), "FAILED_PRECONDITION", "order")
        self.check(host.refused("task", "kill", "--signal", "77", "order"), "FAILED_PRECONDITION", "77")
        host.ctl("task", "kill", "--signal", "9", "order")
        host.ctl("task", "wait", "order")
        self.check(host.refused("task", "kill", "order"), "NOT_FOUND", "order")
        host.ctl("task", "delete", "order")

    def test_bundle(self):
        host = self.host
        self.check(host.refused("task", "create", "--bundle", "C:\\bundles\\absent", "x"), "NOT_FOUND", "absent")
        empty = "C:\\bundles\\empty"
        os.makedirs(host.unix(empty), exist_ok=True)
        self.check(host.refused("task", "create", "--bundle", empty, "x"), "NOT_FOUND", "config.json")

    def test_config_json(self):
        host = self.host
        cases = {
            "syntax": ('{"ociVersion": "1.1.0", ', "config.json"),
            "no-object": ("[]", "config.json"),
            "empty-file": ("", "config.json"),
            "not-utf8": (b'{"ociVersion": "\xff"}', "config.json"),
            "cwd-type": ('{"process":{"cwd":7,"args":["x"]},"root":{"path":""},"windows":{"layerFolders":["C:\\\\layers\\\\base","C:\\\\layers\\\\s"]}}', "cwd"),
            "no-windows": ('{"process":{"cwd":"C:\\\\","args":["x"]},"root":{"path":""}}', "windows"),
        }
        for name, (text, word) in cases.items():
            with self.subTest(name):
                folder = host.unix(f"C:/bundles/bad-{name}")
                os.makedirs(folder, exist_ok=True)
                with open(os.path.join(folder, "config.json"), "wb") as file:
                    file.write(text if isinstance(text, bytes) else text.encode())
                self.check(host.refused("task", "create", "--bundle", f"C:\\bundles\\bad-{name}", "x"), "INVALID_ARGUMENT", word)

    def test_layer_folders(self):
        host = self.host
        one = host.make_bundle("one", "emu:exit 0", windows={"layerFolders": ["C:\\layers\\base"]})
        self.check(host.refused("task", "create", "--bundle", one, "x"), "INVALID_ARGUMENT", "layerFolders")
        absent = host.make_bundle("absent-layer", "emu:exit 0", base="C:\\layers\\nowhere")
        self.check(host.refused("task", "create", "--bundle", absent, "x"), "NOT_FOUND", "nowhere")
        scratch = host.make_bundle("absent-scratch", "emu:exit 0", scratch="C:\\layers\\no-scratch")
        self.check(host.refused("task", "create", "--bundle", scratch, "x"), "NOT_FOUND", "no-scratch")

    def test_scratch_in_use(self):
        host = self.host
        first = host.make_bundle("first", "emu:sleep 3600")
        host.ctl("task", "create", "--bundle", first, "first")
        try:
            second = host.make_bundle("second", "emu:exit 0", scratch="C:\\layers\\first-scratch")
            self.check(host.refused("task", "create", "--bundle", second, "second"), "FAILED_PRECONDITION", "first")
            self.check(host.refused("layer", "export", "--layer", "C:\\layers\\first-scratch", "--parent", "C:\\layers\\base",
                                    "--output", "C:\\out\\x.tar"), "FAILED_PRECONDITION", "first")
        finally:
            host.ctl("task", "delete", "first")

    # ---- exports ------------------------------------------------------------------------------------------------

    def export(self, *more, layer="C:\\layers\\app", output="C:\\out\\x.tar"):
        return self.host.refused("layer", "export", "--layer", layer, "--parent", "C:\\layers\\base", "--output", output, *more)

    def test_export_of_nothing(self):
        self.check(self.export(layer="C:\\layers\\nothing"), "NOT_FOUND", "nothing")
        error = self.host.refused("layer", "export", "--layer", "C:\\layers\\app", "--parent", "C:\\layers\\gone", "--output",
                                  "C:\\out\\x.tar")
        self.check(error, "NOT_FOUND", "gone")

    def test_output_that_cannot_be_written(self):
        self.check(self.export(output="C:\\no\\such\\folder\\x.tar"), "NOT_FOUND", "folder")
        existing = self.host.unix("C:/out/kept.tar")
        with open(existing, "wb") as file:
            file.write(b"kept")
        try:
            self.check(self.export(output="C:\\out\\kept.tar"), "ALREADY_EXISTS", "kept.tar")
            with open(existing, "rb") as file:
                self.assertEqual(b"kept", file.read())
        finally:
            os.unlink(existing)
        self.assertIn(self.export(output="C:\\out")["code"], ("ALREADY_EXISTS", "FAILED_PRECONDITION"))

    def test_compression_that_is_none(self):
        error = self.host.run(*self.host.ctl_command("--json", "layer", "export", "--layer", "C:\\layers\\app", "--output",
                                                     "C:\\out\\x.tar", "--compression", "rar"))
        self.assertEqual(1, error.status)
        self.assertIn("rar", error.error_text)
        self.check(self.export("--compression", "zstd", "--level", "99"), "INVALID_ARGUMENT", "level")

    def test_disk_that_is_full(self):
        mount = self.host.unix("C:/full")
        os.makedirs(mount, exist_ok=True)
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", mount], capture_output=True, text=True, check=False)
        self.assertEqual(0, made.returncode, f"this test needs to mount a small file system: {made.stderr}")
        try:
            error = self.export("--compression", "none", output="C:\\full\\x.tar")
            self.check(error, "RESOURCE_EXHAUSTED", "x.tar")
            self.assertEqual([], os.listdir(mount))
        finally:
            subprocess.run(["umount", mount], check=True)
            shutil.rmtree(mount)

    def test_client_that_goes_away(self):
        host = self.host
        host.make_layer("big", {f"f{index:02}.bin": os.urandom(8 << 20) for index in range(16)})
        client = host.start(*host.ctl_command("layer", "export", "--layer", "C:\\layers\\big", "--parent", "C:\\layers\\base",
                                              "--output", "C:\\out\\gone.tar.gz"))
        wait_until("the export runs", lambda: any(job["object"].endswith("big") and job["state"] == "running"
                                                  for job in host.ctl("job", "ls").json["jobs"]))
        client.kill()
        client.wait()
        job = wait_until("the job ends", lambda: next((job for job in host.ctl("job", "ls").json["jobs"]
                                                       if job["object"].endswith("big") and job["state"] != "running"), None))
        self.assertEqual("cancelled", job["state"])
        wait_until("staging is empty", lambda: os.listdir(host.unix("C:/ProgramData/hcsd/staging")) == self.before["staging"])
        shutil.rmtree(host.unix("C:/layers/big"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
