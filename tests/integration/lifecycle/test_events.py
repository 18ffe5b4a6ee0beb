#!/usr/bin/env python3
"""hcsctl events: what happens, in the order in which it happens to each container, with containerd's topics and payloads."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from host import Host, wait_until  # noqa: E402
from stream import subscribed  # noqa: E402


class Events(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host("lifecycle-events").boot()
        cls.host.write_config()
        cls.host.start_console()

    @classmethod
    def tearDownClass(cls):
        cls.host.end()

    def subscribe(self, *filters):
        return subscribed(self, self.host, *filters)

    def life(self, name, namespace="default"):
        host, space = self.host, ("--namespace", namespace)
        host.ctl(*space, "task", "create", "--bundle", host.make_bundle(name, "emu:sleep 3600"), name)
        host.ctl(*space, "task", "start", name)
        host.ctl(*space, "task", "exec", name, "one", "--", "emu:exit 5")
        host.ctl(*space, "task", "kill", "--signal", "9", name)
        host.ctl(*space, "task", "wait", name)
        host.ctl(*space, "task", "delete", name)

    def test_a_life_in_order(self):
        stream = self.subscribe()
        self.life("web")
        wait_until("the delete event", lambda: [e for e in stream.of("web") if e["topic"] == "/tasks/delete" and not e["event"]["id"]])
        events = stream.of("web")
        self.assertEqual(["create", "start", "exec-added", "exec-started", "exit", "delete", "exit", "delete"],
                         [event["topic"].removeprefix("/tasks/") for event in events])
        create, start, added, started, exec_exit, exec_delete, exit_, delete = events
        self.assertEqual("containerd.events.TaskCreate", create["type"])
        self.assertEqual("C:\\bundles\\web", create["event"]["bundle"])
        self.assertEqual(0, create["event"]["pid"])
        self.assertGreater(start["event"]["pid"], 0)
        self.assertEqual("one", added["event"]["exec_id"])
        self.assertEqual(started["event"]["pid"], exec_exit["event"]["pid"])
        self.assertEqual(("one", 5), (exec_exit["event"]["id"], exec_exit["event"]["exit_status"]))
        self.assertEqual("one", exec_delete["event"]["id"])
        self.assertEqual(("web", start["event"]["pid"]), (exit_["event"]["id"], exit_["event"]["pid"]))
        self.assertRegex(exit_["event"]["exited_at"], r"^20\d\d-\d\d-\d\dT")
        self.assertEqual(exit_["event"]["exited_at"], delete["event"]["exited_at"])
        self.assertEqual({"default"}, {event["namespace"] for event in events})
        times = [event["timestamp"] for event in events]
        self.assertTrue(all(times), times)

    def test_events_span_namespaces_and_filters_choose(self):
        everything = self.subscribe()
        exits = self.subscribe("topic==/tasks/exit,namespace==other")
        one = self.subscribe("event.container_id==b-web")
        self.life("a-web")
        self.life("b-web", "other")

        def is_over(stream, name, topic, count):
            return lambda: len([e for e in stream.of(name) if e["topic"] == topic]) == count
        wait_until("all of a", is_over(everything, "a-web", "/tasks/delete", 2))
        wait_until("all of b", is_over(everything, "b-web", "/tasks/delete", 2))
        wait_until("exits of b", is_over(exits, "b-web", "/tasks/exit", 2))
        wait_until("deletes of b", is_over(one, "b-web", "/tasks/delete", 2))
        self.assertEqual({"other"}, {event["namespace"] for event in everything.of("b-web")})
        self.assertEqual({"/tasks/exit"}, {event["topic"] for event in exits.of("b-web")})
        self.assertEqual([], exits.of("a-web"))
        self.assertEqual([], one.of("a-web"))
        self.assertEqual(8, len(one.of("b-web")))

    def test_execs_end_before_their_container(self):
        host, stream = self.host, self.subscribe("event.container_id==parent")
        host.ctl("task", "create", "--bundle", host.make_bundle("parent", "emu:sleep 3600"), "parent")
        host.ctl("task", "start", "parent")
        for name in ("one", "two"):
            host.ctl("task", "exec", "--detach", "parent", name, "--", "emu:sleep 3600")
        host.ctl("task", "kill", "--signal", "KILL", "parent")
        host.ctl("task", "wait", "parent")
        wait_until("three exits", lambda: len([e for e in stream.of("parent") if e["topic"] == "/tasks/exit"]) == 3)
        exits = [event["event"]["id"] for event in stream.of("parent") if event["topic"] == "/tasks/exit"]
        self.assertEqual(["one", "two"], sorted(exits[:2]))
        self.assertEqual("parent", exits[2])
        self.assertEqual("stopped", host.ctl("task", "state", "--exec", "one", "parent").json["status"])
        host.ctl("task", "delete", "parent")

    def test_pause_is_an_event(self):
        host, stream = self.host, self.subscribe("topic~=\"^/tasks/(paused|resumed)$\"")
        base = host.make_layer("vm-base", {"hello.txt": b"hello\n"})
        os.makedirs(host.unix(base + "\\UtilityVM"), exist_ok=True)
        bundle = host.make_bundle("vm", "emu:sleep 3600", root=None,
                                  windows={"layerFolders": [base, host.make_scratch("vm-scratch")], "hyperv": {}})
        host.ctl("task", "create", "--bundle", bundle, "vm")
        host.ctl("task", "start", "vm")
        host.ctl("task", "pause", "vm")
        host.ctl("task", "resume", "vm")
        host.ctl("task", "delete", "--force", "vm")
        wait_until("resumed", lambda: len(stream.of("vm")) == 2)
        self.assertEqual(["/tasks/paused", "/tasks/resumed"], [event["topic"] for event in stream.of("vm")])

    def test_a_filter_that_cannot_be_read_ends_the_stream(self):
        error = self.host.refused("events", "--filter", "topic=nonsense")
        self.assertEqual("INVALID_ARGUMENT", error["code"])
        self.assertIn("operator", error["message"])

    def test_what_could_not_start_has_an_exit(self):
        stream, host = self.subscribe("event.container_id==nofile"), self.host
        host.ctl("task", "create", "--bundle", host.make_bundle("nofile", ["C:\\no\\such.exe"]), "nofile")
        host.refused("task", "start", "nofile")
        host.ctl("task", "delete", "nofile")
        wait_until("its delete", lambda: [e for e in stream.of("nofile") if e["topic"] == "/tasks/delete"])
        self.assertEqual(["/tasks/create", "/tasks/exit", "/tasks/delete"], [event["topic"] for event in stream.of("nofile")])
        self.assertEqual((127, 0), tuple(stream.of("nofile")[1]["event"][key] for key in ("exit_status", "pid")))


if __name__ == "__main__":
    unittest.main(verbosity=2)
