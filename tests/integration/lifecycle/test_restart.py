#!/usr/bin/env python3
"""hcsd is killed and comes back: what ran runs on, and every exit is told exactly once."""

import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from crowd import Crowd  # noqa: E402
from host import BUILD, EMULATOR, Host, wait_until  # noqa: E402
from stream import Stream, subscribed  # noqa: E402

COUNT = 100
UNKNOWN = 0xFFFFFFFF


class Restart(unittest.TestCase):
    def setUp(self):
        self.host = Host("lifecycle-restart").boot()
        self.addCleanup(self.host.end)
        self.host.write_config()
        self.host.start_console()

    def tasks(self, status):
        return sorted(task["id"] for task in self.host.ctl("task", "ls").json["tasks"] if task["status"] == status)

    def kill_hcsd(self):
        self.host.stop_console()
        wait_until("the emulator has noticed", lambda: not self.host.books()["clients"])

    def break_container(self, name):
        """It ends by itself."""
        ended = self.host.run(os.path.join(EMULATOR, "hcsemu.exe"), "--break", name)
        self.assertEqual(0, ended.status, ended.error_text)

    def test_a_hundred_containers(self):
        host = self.host
        crowd = Crowd(host, COUNT, 1, "create", "start")
        crowd.next(), crowd.next()
        crowd.end()
        names = sorted(f"crowd-{index}" for index in range(COUNT))
        pids = {task["id"]: task["pid"] for task in host.ctl("task", "ls").json["tasks"]}
        self.kill_hcsd()
        # Ten end while nobody looks: their codes cannot be known.
        missed = names[:10]
        for name in missed:
            self.break_container(name)
        host.start_console()
        stream = subscribed(self, host)
        left = names[10:]
        wait_until("what ended is told", lambda: self.tasks("stopped") == missed)
        self.assertEqual(left, self.tasks("running"))
        wait_until("all are taken up again", lambda: sum(
            f"ontainer {name} was taken up again" in host.console_text() for name in left) == len(left))
        self.assertEqual({name: pids[name] for name in left},
                         {task["id"]: task["pid"] for task in host.ctl("task", "ls").json["tasks"] if task["status"] == "running"})
        for name in missed[:3]:
            self.assertEqual(UNKNOWN, host.ctl("task", "wait", name).json["exit_status"])
        for name in left[:5]:  # by itself, without its process having ended
            self.break_container(name)
        for name in left[5:]:
            host.ctl("task", "kill", "--signal", "KILL", name)
        wait_until("all exits", lambda: len([e for e in stream.events if e["topic"] == "/tasks/exit" and
                                             e["event"]["container_id"] in left]) >= len(left), 60)
        for name in names:
            host.ctl("task", "delete", name)
        wait_until("all deletes", lambda: len([e for e in stream.events if e["topic"] == "/tasks/delete" and
                                               e["event"]["container_id"] in names]) == len(names), 60)
        exits = [e["event"]["container_id"] for e in stream.events if e["topic"] == "/tasks/exit" and
                 e["event"]["container_id"] in names]
        self.assertEqual(left, sorted(name for name in exits if name in left), "each exit exactly once")
        self.assertEqual(len(set(exits)), len(exits), "no exit twice")
        books = host.books()
        self.assertEqual(({}, []), (books["systems"], books["prepared"]))

    def test_states_survive(self):
        host = self.host
        base = host.make_layer("vm-base", {"hello.txt": b"hello\n"})
        os.makedirs(host.unix(base + "\\UtilityVM"))
        host.ctl("task", "create", "--bundle", host.make_bundle("created", "emu:sleep 3600"), "created")
        host.ctl("task", "create", "--bundle", host.make_bundle("stopped", "emu:exit 7"), "stopped")
        host.ctl("task", "start", "stopped")
        host.ctl("task", "wait", "stopped")
        bundle = host.make_bundle("paused", "emu:sleep 3600", root=None,
                                  windows={"layerFolders": [base, host.make_scratch("paused-scratch")], "hyperv": {}})
        host.ctl("task", "create", "--bundle", bundle, "paused")
        host.ctl("task", "start", "paused")
        host.ctl("task", "pause", "paused")
        host.ctl("--namespace", "other", "task", "create", "--bundle", host.make_bundle("elsewhere", "emu:sleep 3600"), "elsewhere")
        self.kill_hcsd()
        host.start_console()
        wait_until("the paused one is taken up again", lambda: "paused was taken up again" in host.console_text())
        self.assertEqual((["created"], ["stopped"], ["paused"]), (self.tasks("created"), self.tasks("stopped"), self.tasks("paused")))
        self.assertEqual(7, host.ctl("task", "state", "stopped").json["exit_status"])
        self.assertEqual("created", host.ctl("--namespace", "other", "task", "state", "elsewhere").json["status"])
        self.assertEqual("NOT_FOUND", host.refused("task", "state", "elsewhere")["code"])
        wait_until("the created one can be started", lambda: host.ctl("task", "start", "created", ok=False).status == 0)
        host.ctl("task", "resume", "paused")
        for name in ("created", "paused"):
            host.ctl("task", "kill", "--signal", "9", name)
            self.assertNotEqual(UNKNOWN, host.ctl("task", "wait", name).json["exit_status"])
        for name in ("created", "paused", "stopped"):
            host.ctl("task", "delete", name)
        host.ctl("--namespace", "other", "task", "delete", "elsewhere")
        self.assertEqual({}, host.books()["systems"])

    def exec_client(self, exec_id, lines):
        """An exec with a terminal; it has echoed half of the lines."""
        process = self.host.start(os.path.join(BUILD, "tests", "stdio_client.exe"), "exec", "web", exec_id, str(lines),
                                  stdin=subprocess.PIPE)
        for file in (process.stdin, process.stdout, process.stderr):
            self.addCleanup(file.close)
        self.assertEqual("half", process.stdout.readline().decode().strip(), "what the client said")
        return process

    def go_on(self, process, lines):
        process.stdin.write(b"\n")
        process.stdin.flush()
        self.assertEqual({"lines": lines}, json.loads(process.stdout.readline() or process.stderr.read()))

    def taken_up(self, name):
        wait_until("it is taken up again", lambda: f"ontainer {name} was taken up again" in self.host.console_text())

    def test_execs(self):
        host = self.host
        host.ctl("task", "create", "--bundle", host.make_bundle("web", "emu:sleep 3600"), "web")
        host.ctl("task", "start", "web")
        terminal, gone = self.exec_client("terminal", 20), self.exec_client("gone", 4)
        quiet = host.ctl("task", "exec", "--detach", "web", "quiet", "--", "emu:sleep 3600").json["pid"]
        host.ctl("task", "exec", "--detach", "web", "done", "--", "emu:exit 6")
        host.ctl("task", "wait", "--exec", "done", "web")
        self.kill_hcsd()
        self.go_on(gone, 4)  # it ends while nobody holds a handle
        wait_until("it has ended", lambda: sum(not process["exited"] for process in host.books()["processes"]) == 3)
        host.start_console()
        stream = subscribed(self, host)
        self.taken_up("web")
        self.assertEqual(UNKNOWN, host.ctl("task", "wait", "--exec", "gone", "web").json["exit_status"])
        self.assertIn("Process gone in container web ended while hcsd was not running", host.console_text())
        state = host.ctl("task", "state", "--exec", "quiet", "web").json
        self.assertEqual(("running", quiet, None), (state["status"], state["pid"], state["exit_status"]))
        self.assertEqual(6, host.ctl("task", "state", "--exec", "done", "web").json["exit_status"])
        self.assertEqual({"web", "terminal", "quiet"},
                         {row["exec_id"] for row in host.ctl("task", "ps", "web").json["processes"]} - {""})
        self.kill_hcsd()  # a second time: what was taken up is taken up again
        host.start_console()
        stream = subscribed(self, host)
        self.taken_up("web")
        host.ctl("task", "resize", "--exec", "terminal", "web", "120", "40")
        self.go_on(terminal, 20)  # stdin and the terminal go on
        self.assertEqual(3, host.ctl("task", "wait", "--exec", "terminal", "web").json["exit_status"])
        host.ctl("task", "kill", "--signal", "KILL", "--exec", "quiet", "web")
        self.assertNotEqual(UNKNOWN, host.ctl("task", "wait", "--exec", "quiet", "web").json["exit_status"])
        for name in ("terminal", "quiet", "gone", "done"):
            host.ctl("task", "delete", "--exec", name, "web")
        host.ctl("task", "kill", "--signal", "KILL", "web")
        host.ctl("task", "wait", "web")
        host.ctl("task", "delete", "web")
        wait_until("all deletes", lambda: any(e["topic"] == "/tasks/delete" and not e["event"].get("id") for e in stream.of("web")))
        exits = [(e["event"]["id"], e["event"]["exit_status"]) for e in stream.of("web") if e["topic"] == "/tasks/exit"]
        self.assertEqual(["terminal", "quiet", "web"], [name for name, _ in exits], "each exit exactly once, the execs' first")
        self.assertEqual(3, exits[0][1])
        self.assertEqual([], os.listdir(host.unix("C:/ProgramData/hcsd/state/tasks/execs")))

    def test_it_ends_by_itself_and_is_cleaned_up(self):
        host, stream = self.host, subscribed(self, self.host)
        host.ctl("task", "create", "--bundle", host.make_bundle("lonely", "emu:sleep 3600"), "lonely")
        host.ctl("task", "start", "lonely")
        host.ctl("task", "create", "--bundle", host.make_bundle("unstarted", "emu:sleep 3600"), "unstarted")
        self.break_container("lonely")
        self.break_container("unstarted")

        def is_clean():
            books = host.books()
            return not books["systems"] and not books["prepared"] and not books["activated"]
        wait_until("nothing of them is left though nobody asked", is_clean)
        wait_until("both exits", lambda: len([e for e in stream.events if e["topic"] == "/tasks/exit" and
                                              e["event"]["container_id"] in ("lonely", "unstarted")]) == 2)
        self.assertEqual(["lonely", "unstarted"], self.tasks("stopped"))
        self.assertEqual(1, host.ctl("task", "state", "unstarted").json["exit_status"], "it never ran")
        for name in ("lonely", "unstarted"):
            host.ctl("task", "delete", name)
        # The lonely one's process was seen to end; the other had none.
        self.assertIn("Container unstarted ended without its process having ended", host.console_text())


if __name__ == "__main__":
    unittest.main(verbosity=2)
