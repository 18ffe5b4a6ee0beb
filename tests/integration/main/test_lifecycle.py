#!/usr/bin/env python3
"""Containers through hcsctl over the pipe: what they do, how they end, and what is left after them."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from host import Host, in_background, wait_until  # noqa: E402


class Lifecycle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host("lifecycle").boot()
        cls.host.write_config()
        cls.host.start_console()

    @classmethod
    def tearDownClass(cls):
        cls.host.end()

    def state(self, name):
        return self.host.ctl("task", "state", name).json

    def assert_nothing_left(self):
        books = self.host.books()
        self.assertEqual([], list(books["prepared"]), "layers still prepared")
        self.assertEqual([], list(books["activated"]), "layers still activated")
        self.assertEqual([], list(books["systems"]), "compute systems left")

    def test_each_state_is_shown(self):
        host = self.host
        bundle = host.make_bundle("states", 'cmd /c "exit 5"')
        host.ctl("task", "create", "--bundle", bundle, "states")
        created = self.state("states")
        self.assertEqual(("created", 0, None, None),
                         (created["status"], created["pid"], created["exit_status"], created["exited_at"]))
        host.ctl("task", "start", "states")
        waited = host.ctl("task", "wait", "states").json
        self.assertEqual(("states", "default", "stopped", 5),
                         (waited["id"], waited["namespace"], waited["status"], waited["exit_status"]))
        self.assertRegex(waited["exited_at"], r"^20\d\d-\d\d-\d\dT[\d:.]+Z$")
        self.assertEqual(5, self.state("states")["exit_status"])
        host.ctl("task", "delete", "states")
        self.assertEqual("NOT_FOUND", host.refused("task", "state", "states")["code"])
        self.assert_nothing_left()

    def test_exit_codes_of_real_processes(self):
        for code in (0, 1, 127, 255, 259, 3221225477):
            name = f"exit-{code}"
            bundle = self.host.make_bundle(name, f'cmd /c "exit {code if code < 2**31 else code - 2**32}"')
            self.host.ctl("task", "create", "--bundle", bundle, name)
            self.host.ctl("task", "start", name)
            self.assertEqual(code, self.host.ctl("task", "wait", name).json["exit_status"])
            self.host.ctl("task", "delete", name)
        self.assert_nothing_left()

    def test_wait_before_start_and_many_waiters(self):
        host = self.host
        bundle = host.make_bundle("waited", "emu:sleep 3600")
        host.ctl("task", "create", "--bundle", bundle, "waited")
        waits = [in_background(lambda: host.ctl("task", "wait", "waited").json) for _ in range(4)]
        host.ctl("task", "start", "waited")
        host.ctl("task", "kill", "--signal", "9", "waited")
        ends = [join() for join in waits]
        self.assertEqual(1, len({end["exit_status"] for end in ends}), ends)
        self.assertEqual({"stopped"}, {end["status"] for end in ends})
        host.ctl("task", "delete", "waited")

    def test_term_shuts_down(self):
        host = self.host
        bundle = host.make_bundle("term", "emu:sleep 3600")
        host.ctl("task", "create", "--bundle", bundle, "term")
        host.ctl("task", "start", "term")
        host.ctl("task", "kill", "term")
        self.assertEqual("stopped", host.ctl("task", "wait", "term").json["status"])
        host.ctl("task", "delete", "term")
        self.assert_nothing_left()

    def test_kill_of_a_created_container(self):
        host = self.host
        bundle = host.make_bundle("unstarted", "emu:sleep 3600")
        host.ctl("task", "create", "--bundle", bundle, "unstarted")
        host.ctl("task", "kill", "unstarted")
        state = self.state("unstarted")
        self.assertEqual(("stopped", 1), (state["status"], state["exit_status"]))
        host.ctl("task", "delete", "unstarted")
        self.assert_nothing_left()

    def test_delete_of_a_created_container(self):
        host = self.host
        bundle = host.make_bundle("discarded", "emu:sleep 3600")
        host.ctl("task", "create", "--bundle", bundle, "discarded")
        host.ctl("task", "delete", "discarded")
        self.assertEqual("NOT_FOUND", host.refused("task", "state", "discarded")["code"])
        self.assert_nothing_left()

    def test_init_that_cannot_start_is_127(self):
        host = self.host
        bundle = host.make_bundle("nofile", ["C:\\no\\such\\program.exe"])
        host.ctl("task", "create", "--bundle", bundle, "nofile")
        error = host.refused("task", "start", "nofile")
        self.assertIn("nofile", error["object"] + error["message"])
        state = wait_until("it is stopped", lambda: (lambda s: s if s["status"] == "stopped" else None)(self.state("nofile")))
        self.assertEqual(127, state["exit_status"])
        host.ctl("task", "delete", "nofile")
        self.assert_nothing_left()

    def test_run_shows_output_and_code(self):
        host = self.host
        bundle = host.make_bundle("run", 'cmd /c "echo to stdout& echo to stderr 1>&2& exit 3"')
        ran = host.run(*host.ctl_command("task", "run", "--bundle", bundle, "run"))
        self.assertIn("to stdout", ran.text)
        self.assertIn("to stderr", ran.text + ran.error_text)
        self.assertIn("3", ran.text + ran.error_text)
        self.assertEqual(0, ran.status, "a container's exit code is printed, never propagated")
        self.assertEqual("NOT_FOUND", host.refused("task", "state", "run")["code"])

    def test_output_is_complete(self):
        size = 16 * 1024 * 1024
        bundle = self.host.make_bundle("flood", f"emu:write {size}")
        ran = self.host.run(*self.host.ctl_command("task", "run", "--bundle", bundle, "flood"))
        self.assertGreaterEqual(len(ran.output), size)

    def test_list_is_sorted_and_of_one_namespace(self):
        host = self.host
        for name in ("b-list", "a-list"):
            host.ctl("task", "create", "--bundle", host.make_bundle(name, "emu:sleep 3600"), name)
        host.ctl("--namespace", "other", "task", "create", "--bundle", host.make_bundle("c-list", "emu:sleep 3600"), "c-list")
        ids = [task["id"] for task in host.ctl("task", "ls").json["tasks"] if task["id"].endswith("-list")]
        self.assertEqual(["a-list", "b-list"], ids)
        self.assertEqual(["c-list"], [task["id"] for task in host.ctl("--namespace", "other", "task", "ls").json["tasks"]])
        self.assertEqual("NOT_FOUND", host.refused("task", "state", "c-list")["code"])
        self.assertEqual("ALREADY_EXISTS",
                         host.refused("task", "create", "--bundle", host.make_bundle("c2-list", "emu:exit 0"), "c-list")["code"])
        quiet = host.run(*host.ctl_command("task", "ls", "-q")).text.split()
        self.assertIn("a-list", quiet)
        for name in ("b-list", "a-list"):
            host.ctl("task", "delete", name)
        host.ctl("--namespace", "other", "task", "delete", "c-list")
        self.assert_nothing_left()


if __name__ == "__main__":
    unittest.main(verbosity=2)
