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
# What the warm-up leaves open is not the same to the handle: thread-pool and call threads come and go.
HANDLES_SLACK = 32
MEMORY_SLACK = 4 << 20


def private_memory(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) << 10
    raise AssertionError(f"no RssAnon for {pid}")


class Clients(unittest.TestCase):
    def test_fifty_at_once(self):
        with Host("clients") as host:
            host.write_config()
            host.start_console()
            for index in range(CLIENTS):
                host.make_bundle(f"load{index}", "emu:sleep 3600")
            windows_pid = host.ctl("version").json["hcsd"]["pid"]
            daemon = max(host.unix_pid("hcsd.exe"), key=private_memory)
            load = host.start(os.path.join(BUILD, "tests", "load.exe"), str(CLIENTS), "10", str(SECONDS), str(windows_pid),
                              "C:\\bundles\\load", stdin=subprocess.PIPE)

            def report():
                line = load.stdout.readline()
                self.assertTrue(line, f"load.exe ended: {load.poll()}")
                found = json.loads(line)
                # Idle threads and caches of the calls that just ended go away by themselves within seconds.
                load_memory = min(private_memory(daemon) for _ in range(3))
                return found, load_memory

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
