#!/usr/bin/env python3
"""Many containers at once, and many execs in one: no error, no thread and little memory for each, and nothing is kept.

HCSD_CROWD sets how many containers (100 in make test, 1,000 in make soak), HCSD_CYCLES how many execs (500 and 10,000).
"""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from crowd import Crowd, daemon_pid, memory_at_rest  # noqa: E402
from host import Host  # noqa: E402

COUNT = int(os.environ.get("HCSD_CROWD", "100"))
CYCLES = int(os.environ.get("HCSD_CYCLES", "500"))
HANDLES_SLACK = 32
IDLE_MEMORY = 40 << 10
# Allocators give memory back in pages and keep some: this much may differ whatever the number of containers.
MEMORY_SLACK = 4 << 20


class Crowds(unittest.TestCase):
    def setUp(self):
        self.host = Host("lifecycle-crowd").boot()
        self.addCleanup(self.host.end)
        self.host.write_config()
        self.host.start_console()
        self.pid = daemon_pid(self.host)

    def assert_nothing_left(self):
        books = self.host.books()
        self.assertEqual(({}, [], []), (books["systems"], books["prepared"], books["processes"]))
        self.assertEqual([], self.host.ctl("task", "ls").json["tasks"])

    def test_many_containers(self):
        life = ("create", "start", "stop", "exec", "kill", "delete")
        crowd = Crowd(self.host, COUNT, 2, *life, "stop")
        memories, handles = [], []
        for _ in range(2):  # the first round warms up what is allocated once
            memories.append(memory_at_rest(self.pid))
            for phase in life:
                print(crowd.next(), flush=True)
                if phase == "start":
                    self.assertEqual(COUNT, sum(task["status"] == "running" for task in self.host.ctl("task", "ls").json["tasks"]))
                if phase == "stop":
                    memories.append(memory_at_rest(self.pid))  # and so that no thread belongs to a container
                    crowd.go_on()
            handles.append(crowd.next()["handles"])
            self.assert_nothing_left()
            crowd.go_on()
        crowd.end()
        print({"memory": memories, "handles": handles, "per_container": (memories[3] - memories[0]) / COUNT}, flush=True)
        self.assertLessEqual(memories[3] - memories[0], COUNT * IDLE_MEMORY + MEMORY_SLACK, memories)
        self.assertLessEqual(handles[1], handles[0] + HANDLES_SLACK, handles)

    def test_many_execs_in_one(self):
        warm, counted = Crowd(self.host, 1, 1, "create", "start"), CYCLES // 2
        for _ in range(2):
            warm.next()
        warm.end()
        crowd = Crowd(self.host, min(500, counted), 1, "cycles", "stop", bundles=1)
        crowd.next()
        first = crowd.next()["handles"], memory_at_rest(self.pid)
        crowd.go_on()
        crowd.end()
        crowd = Crowd(self.host, CYCLES - min(500, counted), 1, "cycles", "stop", bundles=1)
        print(crowd.next(), flush=True)
        last = crowd.next()["handles"], memory_at_rest(self.pid)
        crowd.go_on()
        crowd.end()
        print({"first": first, "last": last}, flush=True)
        self.assertLessEqual(last[0], first[0] + HANDLES_SLACK)
        self.assertLessEqual(last[1], first[1] + MEMORY_SLACK)
        self.assertEqual("running", self.host.ctl("task", "state", "crowd-0").json["status"])
        self.host.ctl("task", "delete", "--force", "crowd-0")
        self.assert_nothing_left()


if __name__ == "__main__":
    unittest.main(verbosity=2)
