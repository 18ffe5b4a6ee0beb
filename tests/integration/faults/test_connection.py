#!/usr/bin/env python3
"""The Host Compute Service goes away: its connection breaks, its calls never return, or it may not be used."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from lab import Lab, PATIENCE, in_background, wait_until  # noqa: E402

LONG = 90  # more than any test waits: who is answered before was not answered by the bound of a call


class Connection(unittest.TestCase):
    def lab_with(self, name, **settings):
        lab = Lab(name).open(**settings)
        self.addCleanup(lab.end)
        lab.make_layer("base", {"hello.txt": b"hello\n"})
        for layer in ("app", "other"):
            lab.make_layer(layer, {"hello.txt": b"hello, app\n"})
        return lab

    @staticmethod
    def bundle(lab, name, command="emu:sleep 36000"):
        return lab.make_bundle(name, command, base="C:\\layers\\base")

    def run_container(self, lab, name, command="emu:sleep 36000"):
        lab.ctl("task", "create", "--bundle", self.bundle(lab, name, command), name)
        lab.ctl("task", "start", name)

    def test_disconnect(self):
        """What is in flight fails at once; what runs is taken up again, and its waiters learn its true exit code."""
        lab = self.lab_with("faults-connection", hcs={"call_seconds": LONG}, kill={"answer_seconds": 60})
        lab.start_console()
        self.run_container(lab, "runs")
        self.run_container(lab, "ends", "emu:sleep 20; emu:exit 7")
        lab.ctl("task", "create", "--bundle", self.bundle(lab, "idle"), "idle")
        waiter = in_background(lab.ask, "task", "wait", "ends")
        lab.rows.set("pending", {"call": "HcsCreateComputeSystem", "match": "pending", "action": "pending"})
        pending = in_background(lab.ask, "task", "create", "--bundle", self.bundle(lab, "pending"), "pending")
        wait_until("the create waits for its completion", lambda: "pending" in lab.books()["systems"], PATIENCE)
        lab.rows.set("break", {"call": "HcsGetComputeSystemProperties", "match": "runs", "action": "disconnect"})
        asked = lab.ask("task", "ps", "runs")
        self.assertEqual("UNAVAILABLE", asked.code, asked)
        failed = pending(LONG)
        self.assertEqual("UNAVAILABLE", failed.code, failed)
        self.assertIn("HcsCreateComputeSystem", failed.text)
        lab.rows.clear()
        wait_until("hcsd says that the service answers again", lambda: "answers again; 4 containers" in lab.said() or
                   "answers again; 3 containers" in lab.said(), PATIENCE)
        self.assertIn("The connection to the Host Compute Service broke", lab.said())
        self.assertEqual("SERVING", lab.ctl("health").json["status"])
        lab.drain("pending")
        wait_until("they are taken up again", lambda: all(f"Container {name} was taken up again" in lab.said()
                                                          for name in ("runs", "idle", "ends")), PATIENCE)
        self.assertEqual("running", lab.ctl("task", "state", "runs").json["status"])
        self.assertEqual("created", lab.ctl("task", "state", "idle").json["status"])
        ended = waiter(LONG)
        self.assertEqual(("OK", 7), (ended.code, ended.json["exit_status"]), ended)
        lab.ctl("task", "start", "idle")
        for name in ("runs", "idle", "ends"):
            lab.remove(name)
        books = lab.books()
        self.assertEqual([{}, [], []], [books["systems"], books["activated"], books["prepared"]])

    def lose_calls(self, lab):
        lab.rows.set("lost", {"call": "HcsCreateComputeSystem", "match": "lost", "action": "hang"})
        joins = [in_background(lab.run, *lab.ctl_command("task", "create", "--bundle", self.bundle(lab, f"lost{index}"), f"lost{index}"))
                 for index in range(2)]
        return joins

    def test_too_many_lost_calls(self):
        """hcsd ends itself, with an error; the next one finds everything as it was."""
        lab = self.lab_with("faults-lost", hcs={"call_seconds": 2, "max_lost_calls": 2})
        lab.start_console()
        self.run_container(lab, "runs")
        joins = self.lose_calls(lab)
        self.assertTrue(lab.has_ended(), "hcsd did not end itself")
        for join in joins:
            join()
        self.assertNotEqual(0, lab.daemon.returncode)
        self.assertIn("2 calls into the Host Compute Service never returned", lab.said())
        self.assertIn("HcsCreateComputeSystem for lost", lab.said())
        lab.rows.clear()
        lab.restart()
        wait_until("it is taken up again", lambda: "Container runs was taken up again" in lab.said(), PATIENCE)
        for name in ("lost0", "lost1"):
            lab.drain(name)
        lab.remove("runs")

    def test_too_many_lost_calls_of_the_service(self):
        """STOPPED with an error, so that the service manager's recovery actions run."""
        lab = self.lab_with("faults-lost-service", hcs={"call_seconds": 2, "max_lost_calls": 2})
        lab.run("sc.exe", "create", "hcsd", "binPath=", f"\"{lab.windows(lab.program)}\" --run-service", "start=", "demand")
        lab.run("sc.exe", "start", "hcsd")
        wait_until("the service answers", lambda: lab.ctl("health", ok=False).status == 0, PATIENCE)
        joins = self.lose_calls(lab)

        def stopped():
            shown = lab.run("sc.exe", "query", "hcsd").text
            return shown if "STOPPED" in shown else None

        shown = wait_until("the service has stopped", stopped, PATIENCE, 0.2)
        for join in joins:
            join()
        code = [line.split(":")[1].split()[0] for line in shown.splitlines() if "WIN32_EXIT_CODE" in line]
        self.assertEqual(["1066"], code, shown)
        lab.rows.clear()

    def test_missing_privileges(self):
        """A worker that lacks what storage calls want says so once, and what fails of it names the privilege."""
        lab = self.lab_with("faults-privileges")
        lab.set_points("privileges")
        with open(os.path.join(lab.emulator, "vmcompute-settings.json"), "w", encoding="utf-8") as file:
            file.write('{"check_privileges":true}')
        lab.start_console()
        refused = lab.ask("layer", "export", "--layer", "C:\\layers\\app", "--parent", "C:\\layers\\base", "--output",
                          "C:\\out\\app.tar")
        self.assertEqual("PERMISSION_DENIED", refused.code, refused)
        self.assertIn("ActivateLayer", refused.text)
        wait_until("the event", lambda: "SeBackupPrivilege" in lab.said(), PATIENCE)
        told = [line for line in lab.said().splitlines() if " 5: " in line and "SeBackupPrivilege" in line]
        self.assertEqual(1, len(told), lab.said())


if __name__ == "__main__":
    unittest.main(verbosity=2)
