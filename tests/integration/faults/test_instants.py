#!/usr/bin/env python3
"""kill -9 at named instants: what random ones (test_kills.py) seldom meet. After the next start, or after another worker has looked,
everything is as it must be."""

import os
import shutil
import signal
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from lab import Lab, PATIENCE, in_background, wait_until  # noqa: E402

SIZE = "42949672960"
MADE = "C:\\layers\\made"
ARCHIVE = "C:\\out\\app.tar"
CREATE = ("layer", "create-scratch", "--layer", MADE, "--parent", "C:\\layers\\base", "--size", SIZE)
IMPORT = ("layer", "import", "--layer", MADE, "--parent", "C:\\layers\\base", "--input", ARCHIVE)
IMPORT_BASE = ("layer", "import", "--layer", MADE, "--input", ARCHIVE)
# Where a layer is half made: the request, its kind of job, and the phase that its worker has come to.
HALVES = ((CREATE, "layer", "create"), (CREATE, "layer", "expand"), (IMPORT, "import", "archive"), (IMPORT, "import", "import"),
          (IMPORT, "import", "apply"), (IMPORT_BASE, "import", "archive"), (IMPORT_BASE, "import", "image"))


class Instants(unittest.TestCase):
    def open(self, name):
        self.lab = lab = Lab(f"faults-{name}").open()
        self.addCleanup(lab.end)
        lab.make_layer("base", {"hello.txt": b"hello\n"})
        lab.make_layer("app", {"hello.txt": b"hello, app\n", "bin/tool.bin": bytes(100_000)})
        lab.start_console()
        return lab

    def end_workers(self, pids):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def nothing_is_left(self, *, layer):
        """No document, no operation, no staging folder, nothing activated; the layer's folder gone or there."""
        lab, seen = self.lab, {}

        def clean():
            books, diag = lab.books(), lab.ctl("diag").json
            seen.update(documents=lab.documents(lab.jobs), staging=os.listdir(lab.staging), activated=books["activated"],
                        operations=diag["operations"], quarantined=diag["quarantined"])
            seen["layer"] = os.path.exists(lab.unix(MADE)) != layer
            return not any(seen.values())

        try:
            wait_until("", clean, PATIENCE, 0.2)
        except TimeoutError:
            self.fail(f"still left: { {key: value for key, value in seen.items() if value} }")

    # ---- a layer that is being made -----------------------------------------------------------------------------

    def come_to(self, request, kind, phase):
        """The request, held in the phase; gives its join."""
        lab = self.lab
        lab.set_points(f"phase {kind} {phase} hang")
        join = in_background(lambda: lab.ctl(*request, ok=False))
        wait_until(f"{request[1]} comes to {phase}", lambda: [row for row in lab.ctl("diag").json["operations"]
                                                              if row["kind"] == kind and row["phase"] == phase], 20, 0.05)
        return join

    def test_half_a_layer(self):
        """hcsd is killed while a layer is made, or the worker that makes it: what was made of it goes, and it can be made again."""
        lab = self.open("halves")
        lab.settings["watchdog"]["stall_seconds"] = 30
        lab.settings["hcs"]["call_seconds"] = 60
        lab.write_config(**lab.settings)
        lab.kill()
        lab.start_console()
        for request, kind, phase in HALVES:
            parents = ["--parent", "C:\\layers\\base"] if request is not IMPORT_BASE else []
            lab.ctl("layer", "export", "--layer", "C:\\layers\\app" if parents else "C:\\layers\\base", *parents, "--compression", "none",
                    "--overwrite", "--wait-cleanup", "--output", ARCHIVE)
            for what in ("hcsd", "its worker"):
                with self.subTest(request=request[1], base=not parents, phase=phase, killed=what):
                    join = self.come_to(request, kind, phase)
                    if what == "hcsd":
                        lab.kill()
                        lab.set_points()
                        lab.start_console()
                        error = join().error
                        self.assertEqual("UNAVAILABLE", error["code"])
                        self.assertIn("hcsd went away during the call", error["message"])
                    else:
                        self.end_workers(self.lab.worker_pids())
                        lab.set_points()
                        error = join().error
                        self.assertEqual("UNAVAILABLE", error["code"])
                        self.assertIn("hcsd removes what was made of it", error["message"])
                    self.nothing_is_left(layer=False)
            made = lab.ask(*request)
            self.assertEqual("OK", made.code, made)
            self.nothing_is_left(layer=True)
            lab.ctl("layer", "destroy", "--layer", MADE)
        self.assertIn("was being made when its worker was lost", lab.said())

    def test_what_is_somebody_elses(self):
        """A folder that was there before is not touched, nor one that has taken the name of what was being made."""
        lab = self.open("others")
        theirs = lab.unix(lab.make_layer("made", {"precious.txt": b"precious\n"}))
        refused = lab.ask(*CREATE)
        self.assertEqual("ALREADY_EXISTS", refused.code, refused)
        self.assertEqual("ALREADY_EXISTS", lab.ask(*IMPORT_BASE).code)
        lab.kill()
        lab.start_console()
        self.nothing_is_left(layer=True)
        shutil.rmtree(theirs)
        join = self.come_to(CREATE, "layer", "expand")
        lab.kill()
        lab.set_points()
        os.rename(theirs, theirs + "-old")  # so that its number in the file system is not given out again
        lab.make_layer("made", {"precious.txt": b"precious\n"})
        lab.start_console()
        join()
        self.nothing_is_left(layer=True)
        self.assertTrue(os.path.exists(os.path.join(theirs, "Files", "precious.txt")))
        wait_until("hcsd says so", lambda: "another folder has its name now" in lab.said(), PATIENCE)

    # ---- a container that has stopped ---------------------------------------------------------------------------

    def test_release_that_never_began(self):
        """No worker comes up when a container ends, and hcsd is killed before one does: the container has stopped, and nobody will ask
        for its layers again."""
        lab = self.open("release")
        lab.ctl("task", "create", "--bundle", lab.make_bundle("web", "emu:sleep 36000"), "web")
        lab.ctl("task", "start", "web")
        lab.set_points("start")
        ended = self.lab.worker_pids()
        self.end_workers(ended)
        wait_until("they are gone", lambda: not set(ended) & set(self.lab.worker_pids()), PATIENCE)
        lab.ctl("task", "kill", "--signal", "9", "web", ok=False)  # it ends, if not within the bound of the answer on a busy machine
        lab.ctl("task", "wait", "web", ok=False)
        self.assertEqual(["C:\\layers\\web-scratch"], lab.books()["prepared"])
        self.assertEqual("stopped", lab.ctl("task", "state", "web").json["status"])
        lab.kill()
        lab.set_points()
        lab.start_console()
        wait_until("its layers are released", lambda: not lab.books()["activated"], PATIENCE, 0.2)
        lab.remove("web")
        self.nothing_is_left(layer=False)


if __name__ == "__main__":
    unittest.main(verbosity=2)
