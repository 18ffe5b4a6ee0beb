#!/usr/bin/env python3
"""The freeze: an export whose cleanup cannot go on. The archive is delivered while it is stuck, the pool gets its place back, and in
the end nothing is left of the staging folder.

Each case is an export of one layer with something in its way. Bounds that the product promises (a place of the pool is not
lost for more than 10 s with watchdog.stall_seconds at 2) are looked at as bounds; nothing else is timed.
"""

import os
import sys
import tarfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from lab import Lab, PATIENCE, in_background, wait_until  # noqa: E402

WORKERS = 3
PLACE_SECONDS = 10
HOLD = "phase export cleanup hold"
HELD = {"hello.txt": b"hello, app\n", "bin/tool.bin": bytes(100_000), "$Recycle.Bin/hold-me.bin": b"held"}


class Freeze(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = lab = Lab("faults-freeze").open(watchdog={"stall_seconds": 2, "destroy_seconds": 2})
        cls.addClassCleanup(lab.end)
        lab.make_layer("base", {"hello.txt": b"hello\n"})
        for name in ("one", "two"):
            lab.make_layer(name, {"hello.txt": b"hello, " + name.encode()})
        lab.start_console()

    def setUp(self):
        """Every case finds the pool whole and warm."""
        joins = [in_background(self.export, name) for name in ("one", "two")]
        for join in joins:
            self.assertEqual("OK", join().code)
        self.number = self.id().rsplit("test_", 1)[1]
        self.lab.make_layer(self.number, HELD)
        self.said_before = len(self.lab.said())

    def tearDown(self):
        lab = self.lab
        lab.rows.clear()
        lab.set_points()
        seen = {}

        def nothing_left():
            diag = lab.ctl("diag").json
            seen.update(staging=os.listdir(lab.staging), operations=diag["operations"], quarantined=diag["quarantined"],
                        documents=lab.documents(lab.jobs), activated=lab.books()["activated"],
                        workers=[row for row in diag["workers"] if row["state"] != "idle"])
            return not any(seen.values())

        try:
            wait_until("", nothing_left, PATIENCE, 0.2)
        except TimeoutError:
            self.fail(f"left {PATIENCE:g} s after the release: {seen}")

    def export(self, name, *options):
        return self.lab.ask("layer", "export", "--layer", f"C:\\layers\\{name}", "--parent", "C:\\layers\\base", "--compression",
                            "none", "--overwrite", "--output", f"C:\\out\\{name}.tar", *options)

    def events(self):
        return self.lab.said()[self.said_before:]

    def wait_event(self, words):
        wait_until(f"an event with \"{words}\"", lambda: words in self.events(), PATIENCE, 0.1)

    def places(self):
        """How many of the pool's places are not lost to a worker that is stuck or will not go."""
        diag = self.lab.ctl("diag").json
        stuck = {row["worker_pid"] for row in diag["operations"] if row["kind"] == "export" and row["phase"] == "cleanup"}
        lost = [row for row in diag["workers"] if row["lane"] == "export" and (row["pid"] in stuck or row["state"] == "ending")]
        return WORKERS - len(lost)

    def delivered_though_stuck(self, lost_place=True):
        """The archive is whole and there while its worker is stuck; then the pool's place comes back within its bound."""
        answer = self.export(self.number)
        self.assertEqual("OK", answer.code, answer)
        self.assertIn(answer.json["cleanup"], ("pending", "quarantined"), answer)
        with tarfile.open(self.lab.unix(f"C:/out/{self.number}.tar")) as archive:
            self.assertIn("Files/bin/tool.bin", [member.name for member in archive])
        self.assertNotIn("was terminated", self.events(), "the delivery waited for the worker's end")
        if not lost_place:
            return
        began = time.monotonic()
        wait_until(f"the pool has {WORKERS} places again", lambda: self.places() >= WORKERS, PATIENCE, 0.2)
        lost = time.monotonic() - began
        self.assertLessEqual(lost, PLACE_SECONDS, "a place of the pool was lost for so many seconds")
        print(f"  {self.number}: the place came back", flush=True)

    # ---- what is in the way -------------------------------------------------------------------------------------

    def test_remover_that_blocks(self):
        self.lab.set_points(HOLD)
        self.delivered_though_stuck()
        self.wait_event("is quarantined")
        self.wait_event("is gone (")

    def test_worker_that_does_not_die(self):
        """It keeps its handles: its folder is left alone until it is gone, and nothing else waits for that."""
        self.lab.set_points(HOLD, "terminate")
        self.delivered_though_stuck()
        self.wait_event("was terminated but does not end")
        abandoned = [row for row in self.lab.ctl("diag").json["workers"] if row["state"] == "abandoned"]
        self.assertEqual(1, len(abandoned), abandoned)
        self.assertEqual(1, len(os.listdir(self.lab.staging)), "its folder is left alone")
        self.assertEqual("OK", self.export("one", "--wait-cleanup").code)
        self.lab.set_points()
        self.wait_event("is gone at last")

    def test_rename_refused(self):
        self.lab.set_points(HOLD, "rename")
        self.delivered_though_stuck()
        self.wait_event("is gone (")
        self.assertNotIn("-q is gone", self.events())

    def test_names_that_resist(self):
        """Entries that are listed and cannot be opened by their names."""
        folder = os.path.join(self.lab.unix(f"C:/layers/{self.number}"), "transport", "Files", "$Recycle.Bin")
        os.makedirs(folder)
        for name in (b"bad-\xff\xfe-utf8", b"trailing. ", b"nul", b"a:b", b"Case", b"case"):
            with open(os.path.join(os.fsencode(folder), name), "wb") as file:
                file.write(b"\x20\0\0\0")
        answer = self.export(self.number)
        self.assertEqual("OK", answer.code, answer)

    def destroy(self, action):
        self.lab.set_points(HOLD)
        self.lab.rows.set("destroy", {"call": "DestroyLayer", "action": action, "hresult": "0x80070020"} if action == "fail" else
                          {"call": "DestroyLayer", "action": action})
        self.delivered_though_stuck()
        self.wait_event("is quarantined")
        wait_until("DestroyLayer was made", lambda: (self.lab.books()["fault_counts"] or [0])[0] > 0, PATIENCE, 0.2)

    def test_destroy_fails(self):
        self.destroy("fail")
        self.wait_event("is gone (")

    def test_destroy_hangs(self):
        self.destroy("hang")
        self.wait_event("still has")

    def test_destroy_crashes(self):
        self.destroy("crash")
        self.wait_event("still has")


if __name__ == "__main__":
    unittest.main(verbosity=2)
