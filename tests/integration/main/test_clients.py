#!/usr/bin/env python3
"""Fifty clients at once calling Create, State and Delete: no error, and after the warm-up neither handles nor memory grow.

HCSD_LOAD_SECONDS sets how long is counted: 30 in make test, 600 in make soak.
"""

import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from host import BUILD, Host, wait_until  # noqa: E402

CLIENTS = 50
SECONDS = int(os.environ.get("HCSD_LOAD_SECONDS", "30"))
# hcsd keeps the threads of a busy moment for 30 s; each costs Wine 976 KiB of private memory. What is compared is hcsd at
# rest, without what its threads cost.
REST_THREADS = 16
THREAD_MEMORY = 976 << 10
HANDLES_SLACK = 32
MEMORY_SLACK = 4 << 20


def process_status(pid, member):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith(member + ":"):
                return int(line.split()[1])
    raise AssertionError(f"no {member} for {pid}")


def memory_at_rest(pid):
    wait_until("hcsd is at rest", lambda: process_status(pid, "Threads") <= REST_THREADS, 120, 1)
    return (process_status(pid, "RssAnon") << 10) - process_status(pid, "Threads") * THREAD_MEMORY


class Clients(unittest.TestCase):
    def test_fifty_at_once(self):
        with Host("clients") as host:
            host.write_config()
            host.start_console()
            for index in range(CLIENTS):
                host.make_bundle(f"load{index}", "emu:sleep 3600")
            windows_pid = host.ctl("version").json["hcsd"]["pid"]
            daemon = max(host.unix_pid("hcsd.exe"), key=lambda pid: process_status(pid, "Threads"))
            load = host.start(os.path.join(BUILD, "tests", "load.exe"), str(CLIENTS), "10", str(SECONDS), str(windows_pid),
                              "C:\\bundles\\load", stdin=subprocess.PIPE)

            def report():
                line = load.stdout.readline()
                self.assertTrue(line, f"load.exe ended: {load.poll()}")
                return json.loads(line), memory_at_rest(daemon)

            warm, warm_memory = report()
            load.stdin.write(b"\n")
            load.stdin.flush()
            counted, memory = report()
            load.stdin.close()
            print(f"{counted['calls']} calls of {CLIENTS} clients in {SECONDS} s; handles {warm['handles']} -> {counted['handles']}, "
                  f"private memory {warm_memory >> 10} -> {memory >> 10} KiB")
            self.assertEqual((0, ""), (warm["errors"], warm["first_error"]))
            self.assertEqual((0, ""), (counted["errors"], counted["first_error"]))
            self.assertGreater(counted["calls"], CLIENTS)
            self.assertLessEqual(counted["handles"], warm["handles"] + HANDLES_SLACK)
            self.assertLessEqual(memory, warm_memory + MEMORY_SLACK)
            self.assertEqual([], host.ctl("task", "ls").json["tasks"])
            wait_until("nothing is left mounted", lambda: not list(host.books()["prepared"]))
            self.assertEqual([], list(host.books()["systems"]))


if __name__ == "__main__":
    unittest.main(verbosity=2)
